import { key } from "./access.js";
import { call } from "./api.js";
import { ask, askOne } from "./asking.js";
import { find } from "./dom.js";
import { Form } from "./form.js";
import { listen } from "./keyboard.js";
import { notices } from "./notices.js";
import { Results } from "./results.js";
import { fromAddress, toAddress } from "./state.js";

const TITLE = document.title;
let state = fromAddress(location.search);
/** Null while they are asked for: nothing is searched before it is known where. */
let collections = null;
let answered = {};
let running = new AbortController();

const form = new Form(search, choose);
const results = new Results({
  more: (number, what) => askOne(state, number, answered, what),
  similar: ({ document_id: id, source }) =>
    search({ ...state, similar: { id, source }, page: null }, "push"),
  page: async (page) => {
    await search({ ...state, page }, "push");
    find("#results").scrollIntoView();
  },
  fail,
});

/** Search, and have the address say so; an answer that comes after a later question is dropped. */
async function search(asked, remember) {
  // Until the collections are known, the form shows neither the address's nor its filter.
  const { collection, filter } = state;
  state = collections === null ? { ...asked, collection, filter } : asked;
  if (remember) address(remember);
  tell();
  running.abort();
  running = new AbortController();
  const { signal } = running;
  if (collections === null) return;
  if (!asked.similar && !asked.query.trim()) {
    results.busy(false);
    results.clear();
    return;
  }
  results.busy(true);
  try {
    const answer = await ask(asked, signal);
    if (signal.aborted) return;
    answered = answer;
    results.show(asked, answer);
  } catch (error) {
    if (signal.aborted) return;
    results.clear();
    fail(error);
  }
  results.busy(false);
}

function address(remember) {
  const next = location.pathname + toAddress(state);
  if (next === location.pathname + location.search) return;
  history[`${remember}State`](null, "", next);
}

/** What is asked, where the form has no field for it. */
function tell() {
  const { query, similar } = state;
  const what = similar ? `similar to ${similar.id}` : query;
  document.title = what ? `${what} · ${TITLE}` : TITLE;
  find("#similar").hidden = similar === null;
  find("#similar-to").textContent = similar?.id ?? "";
}

/** An error in front of people, with what they can do about it. */
function fail(error) {
  if (error.status === undefined) throw error;
  find("#begin").hidden = true;
  const asksForKey = error.status === 401;
  find("#access").hidden = !asksForKey;
  if (asksForKey) {
    find("#key").focus();
    if (key.get() === null) {
      notices.clear();
      return;
    }
  }
  const first = ["Search from the first page", () => search({ ...state, page: null }, "push")];
  const again = ["Try again", open];
  const later = [0, 429, 503, 504].includes(error.status);
  notices.problem(error, error.status === 410 ? [first] : later ? [again] : []);
}

/** The collections there are, and the state's search. */
async function open() {
  find("#forget").hidden = key.get() === null;
  try {
    ({ collections } = await call("v1/collections"));
  } catch (error) {
    collections ??= [];
    fail(error);
    return;
  }
  find("#access").hidden = true;
  find("#docs").hidden = key.get() !== null;
  find("#none").hidden = collections.length > 0;
  await restore(state);
}

async function restore(kept) {
  const names = collections.map((each) => each.name);
  form.offer(names, kept.collection);
  const collection = kept.collection || (names[0] ?? "");
  // What the chooser shows: an address may name a collection that is none.
  await choose(form.state.collection, kept.filter);
  if (state !== kept) return;
  await search({ ...kept, collection });
}

/** What a collection is, and what it can be filtered on. */
async function choose(name, filter = null) {
  const known = collections.find((each) => each.name === name);
  form.filterOn(known?.fields ?? {}, filter);
  find("#about").hidden = !known;
  if (!known) return;
  find("#stand-in").hidden = !known.stand_in;
  find("#model").textContent = known.model;
  find("#counts").textContent = "";
  try {
    const { documents, chunks, weights } = await call(`v1/collections/${encodeURIComponent(name)}`);
    if (find("#collection").value !== name) return;
    form.weighBy(weights);
    find("#counts").textContent = `${count(documents, "document")}, ${count(chunks, "passage")}`;
  } catch (error) {
    fail(error);
  }
}

const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;

addEventListener("popstate", () => {
  state = fromAddress(location.search);
  form.show(state);
  if (collections !== null) restore(state);
});
find("#access").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(find("#key").value.trim());
  find("#key").value = "";
  open();
});
find("#forget").addEventListener("click", () => {
  key.forget();
  location.reload();
});
find("#query-again").addEventListener("click", () => search({ ...state, similar: null, page: null }, "push"));
find("#narrow").addEventListener("click", ({ currentTarget }) => {
  const open = find("#options").classList.toggle("open");
  currentTarget.setAttribute("aria-expanded", String(open));
});
listen({
  move: (by) => results.move(by),
  current: () => results.current,
  close: () => results.current?.close(),
});
form.show(state);
open();

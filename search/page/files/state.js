import { facts, SCORES } from "./facts.js";

/**
 * What is searched for, and how. The address holds all of it under the API's own names, so that
 * it can be shared and gone back to.
 *
 * `weights`: "" (the method's), a preset's name, "rrf" (ranks in place of scores), or an object.
 * `similar`: null, or `{id, source}` of the document that is the query.
 * `page`: null, or `{token, offset}` in a search that goes on.
 */
export const BLANK = Object.freeze({
  query: "",
  collection: "",
  method: "fusion",
  weights: "",
  topK: 10,
  candidates: facts.candidates,
  grouped: false,
  filter: null,
  must: [],
  mustNot: [],
  similar: null,
  page: null,
});

/** From the part of an address after `?`; what cannot be is as if it were not there. */
export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const text = (name) => given.get(name) ?? "";
  const whole = (name, least, otherwise) => {
    const number = Number(given.get(name) ?? NaN);
    const fits = Number.isInteger(number) && number >= least && number <= facts.limits.candidates;
    return fits ? number : otherwise;
  };
  return {
    query: text("query"),
    collection: text("collection"),
    method: Object.hasOwn(facts.methods, text("method")) ? text("method") : BLANK.method,
    weights: weightsFrom(text("weights")),
    topK: whole("top_k", 1, BLANK.topK),
    candidates: whole("candidates", 1, BLANK.candidates),
    grouped: text("group_by") === "document",
    filter: objectFrom(text("filter")),
    must: given.getAll("must").filter(Boolean),
    mustNot: given.getAll("must_not").filter(Boolean),
    similar: text("document_id") ? { id: text("document_id"), source: text("source") } : null,
    page: text("page") ? { token: text("page"), offset: whole("offset", 0, 0) } : null,
  };
}

/** What goes after the path of an address: `?…`, or nothing. */
export function toAddress(state) {
  const given = new URLSearchParams();
  const put = (name, value, blank = "") => {
    if (value !== blank) given.append(name, value);
  };
  put("query", state.query);
  put("document_id", state.similar?.id ?? "");
  put("source", state.similar?.source ?? "");
  put("collection", state.collection);
  put("method", state.method, BLANK.method);
  put("weights", written(state.weights));
  put("top_k", state.topK, BLANK.topK);
  put("candidates", state.candidates, BLANK.candidates);
  put("group_by", state.grouped ? "document" : "");
  put("filter", state.filter ? JSON.stringify(state.filter) : "");
  for (const word of state.must) put("must", word);
  for (const word of state.mustNot) put("must_not", word);
  put("page", state.page?.token ?? "");
  put("offset", state.page?.offset ?? "");
  return given.size ? `?${given}` : "";
}

function written(weights) {
  return typeof weights === "string" ? weights : SCORES.map((name) => weights[name]).join();
}

function weightsFrom(text) {
  if (text === "rrf" || Object.hasOwn(facts.presets, text)) return text;
  const numbers = text.split(",").map(Number);
  const most = Math.max(...numbers);
  if (!text || numbers.length !== SCORES.length || !(most > 0) || Math.min(...numbers) < 0) return "";
  // Only their ratios matter, and sliders end at 1.
  const by = Math.max(most, 1);
  return Object.fromEntries(SCORES.map((name, i) => [name, numbers[i] / by]));
}

function objectFrom(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

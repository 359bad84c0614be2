import { Builder } from "./builder.js";
import { find, make, set, settled } from "./dom.js";
import { called, facts, SCORES } from "./facts.js";
import { BLANK } from "./state.js";

const TYPING_MS = 400;
const DRAGGING_MS = 120;
const slider = (name) => find(`#weight-${name}`);

/** What people set: the form's fields as a state, and a state in its fields. */
export class Form {
  #similar = null;
  #tuned = {};
  #builder;
  #choose;

  /**
   * `search(state, how)`: called when something is asked anew; `how` is "push" for an address of
   * its own, "replace" for one in place of the last. `choose(name)`: another collection.
   */
  constructor(search, choose) {
    this.#choose = choose;
    const now = () => search(this.state, "push");
    const typed = settled(TYPING_MS, now);
    const dragged = settled(DRAGGING_MS, () => search(this.state, "replace"));
    this.#builder = new Builder(typed);
    find("#query").maxLength = facts.limits.query;
    fill(find("#methods"), Object.keys(facts.methods).map(method));
    fill(find("#weights"), SCORES.map(weight));
    fill(find("#preset"), presets());
    find("#form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#similar = null;
      now();
    });
    find("#methods").addEventListener("change", () => {
      if (find("#preset").value !== "rrf") find("#preset").value = "";
      this.#weigh();
      now();
    });
    find("#preset").addEventListener("change", () => {
      this.#weigh();
      now();
    });
    find("#weights").addEventListener("input", () => {
      find("#preset").value = "own";
      this.#weigh();
      dragged();
    });
    for (const id of ["#top_k", "#candidates", "#grouped"]) find(id).addEventListener("change", now);
    for (const id of ["#must", "#must_not"]) find(id).addEventListener("input", typed);
    find("#collection").addEventListener("change", async ({ target }) => {
      this.#similar = null;
      await this.#choose(target.value);
      now();
    });
  }

  /** As a first page. */
  get state() {
    return {
      ...BLANK,
      query: find("#query").value,
      collection: find("#collection").value,
      method: find("#methods input:checked").value,
      weights: this.#weights,
      topK: Number(find("#top_k").value),
      candidates: Number(find("#candidates").value),
      grouped: find("#grouped").checked,
      filter: this.#builder.filter,
      must: words("#must"),
      mustNot: words("#must_not"),
      similar: this.#similar,
    };
  }

  show(state) {
    this.#similar = state.similar;
    find("#query").value = state.query;
    find(`#methods input[value="${CSS.escape(state.method)}"]`).checked = true;
    find("#preset").value = typeof state.weights === "string" ? state.weights : "own";
    if (typeof state.weights === "object") slide(state.weights);
    this.#weigh();
    offer("#top_k", state.topK);
    offer("#candidates", state.candidates);
    find("#grouped").checked = state.grouped;
    find("#must").value = state.must.join(", ");
    find("#must_not").value = state.mustNot.join(", ");
  }

  /** The fields that a collection declares, and a filter over them. */
  filterOn(fields, filter) {
    this.#builder.show(filter, fields);
  }

  /** What a collection's methods weigh, where that was tuned. */
  weighBy(tuned) {
    this.#tuned = tuned;
    this.#weigh();
  }

  /** The collections to choose from. */
  offer(names, chosen) {
    fill(find("#collection"), names.map((name) => option(name, name)));
    find("#collection").value = names.includes(chosen) ? chosen : (names[0] ?? "");
  }

  get #weights() {
    const preset = find("#preset").value;
    if (preset !== "own") return preset;
    return Object.fromEntries(SCORES.map((name) => [name, slider(name).valueAsNumber]));
  }

  /** Sliders, and the numbers beside them, as preset and method have it. */
  #weigh() {
    const preset = find("#preset").value;
    const method = find("#methods input:checked").value;
    if (preset !== "own") slide(facts.presets[preset] ?? this.#tuned[method] ?? facts.methods[method]);
    find("#weights").disabled = preset === "rrf";
    for (const name of SCORES) {
      const weight = slider(name).valueAsNumber;
      set(slider(name), { "--v": weight });
      find(`#weight-${name} + output`).value = preset === "rrf" ? "–" : weight.toFixed(2);
    }
  }
}

const fill = (element, nodes) => element.replaceChildren(...nodes);
const option = (value, name) => make("option", { value }, name);
const words = (id) => find(id).value.split(",").map((word) => word.trim()).filter(Boolean);

function slide(weights) {
  for (const name of SCORES) slider(name).value = weights[name];
}

/** Choose a number, which an address may have where the list has it not. */
function offer(id, number) {
  const known = [...find(id).options].some(({ value }) => Number(value) === number);
  if (!known) find(id).append(option(number, number));
  find(id).value = number;
}

const presets = () => [
  option("", "of the method"),
  ...Object.keys(facts.presets).map((name) => option(name, name)),
  option("own", "own"),
  option("rrf", "ranks (RRF)"),
];

const method = (name) =>
  make(
    "label",
    {},
    make("input", { type: "radio", name: "method", value: name, checked: name === BLANK.method }),
    make("span", {}, called(name)),
  );

const weight = (name) =>
  make(
    "div",
    { class: `weight ${name}` },
    make("label", { for: `weight-${name}` }, called(name)),
    make("input", { type: "range", id: `weight-${name}`, min: "0", max: "1", step: "0.05" }),
    make("output", { for: `weight-${name}` }),
  );

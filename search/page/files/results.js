import { find, make } from "./dom.js";
import { Hit } from "./hit.js";
import { notices } from "./notices.js";

const PHASES = ["embed", "retrieve", "rerank", "total"];

/** The list of hits, what stands above it, and the way to other pages. */
export class Results {
  #hits = [];
  #actions;

  /** `actions`: what `Hit` takes, and `page(page)`, which shows another one. */
  constructor(actions) {
    this.#actions = actions;
  }

  clear() {
    this.#hits = [];
    notices.clear();
    for (const id of ["#summary", "#hits", "#pages"]) find(id).replaceChildren();
    find("#told").textContent = "";
    find("#begin").hidden = false;
  }

  busy(is) {
    find("#results").setAttribute("aria-busy", String(is));
  }

  /** An answer in place of the one before; what is open or in focus stays so, where it is there. */
  show(state, answer) {
    const before = new Map(this.#hits.map((hit) => [hit.id, hit]));
    const focused = this.current?.id;
    this.clear();
    find("#begin").hidden = true;
    notices.degraded(answer.degraded);
    const offset = state.page?.offset ?? 0;
    const most = state.weights === "rrf" ? Math.max(...answer.hits.map((hit) => hit.score)) : 1;
    this.#hits = answer.hits.map((hit, i) => new Hit(hit, offset + i, most, this.#actions));
    find("#hits").start = offset + 1;
    find("#hits").replaceChildren(...this.#hits.map((hit) => hit.element));
    for (const hit of this.#hits) {
      if (before.get(hit.id)?.isOpen("why")) hit.open("why");
      if (hit.id === focused) hit.element.focus({ preventScroll: true });
    }
    this.#hits[0]?.element.setAttribute("tabindex", "0");
    this.#summarise(state, answer, offset);
    this.#turn(state, answer, offset);
  }

  /** The hit that has the focus, itself or in it. */
  get current() {
    return this.#hits.find((hit) => hit.element.contains(document.activeElement));
  }

  /** Give the focus to the hit before or after; to the first where none has it. */
  move(by) {
    const at = this.#hits.indexOf(this.current);
    const next = this.#hits[at < 0 ? 0 : Math.min(Math.max(at + by, 0), this.#hits.length - 1)];
    if (!next) return;
    for (const hit of this.#hits) hit.element.setAttribute("tabindex", hit === next ? "0" : "-1");
    next.element.focus();
  }

  #summarise(state, { hits, timings_ms: timings }, offset) {
    const range = hits.length ? `Hits ${offset + 1} to ${offset + hits.length}` : "No hits";
    find("#summary").replaceChildren(
      make("p", {}, make("strong", {}, range), state.similar ? ` similar to ${state.similar.id}` : ""),
      make(
        "dl",
        { class: "timings" },
        PHASES.map((phase) =>
          make("div", { class: phase }, make("dt", {}, phase), make("dd", {}, `${timings[phase].toFixed(1)} ms`)),
        ),
      ),
    );
    find("#told").textContent = `${range}, in ${Math.round(timings.total)} milliseconds.`;
    if (!hits.length) find("#hits").append(nothing(state));
  }

  #turn({ topK, page }, answer, offset) {
    const button = (label, to) =>
      make("button", { type: "button", disabled: to === null, onclick: () => this.#actions.page(to) }, label);
    // Any page's token tells the search; the offset beside it, where in it.
    const token = answer.page ?? page?.token;
    const before = offset ? { token, offset: Math.max(offset - topK, 0) } : null;
    const after = answer.page ? { token, offset: offset + answer.hits.length } : null;
    if (before || after) {
      find("#pages").replaceChildren(button("Previous page", before), button("Next page", after));
    }
  }
}

function nothing({ filter, must, mustNot }) {
  const narrow = filter !== null || must.length > 0 || mustNot.length > 0;
  const why = narrow ? "No passage fits the filter and the words. Take one of them out." : "The collection has no passage to show.";
  return make("li", { class: "none" }, why);
}

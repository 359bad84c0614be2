import { Problem } from "./api.js";
import { make } from "./dom.js";
import { passage } from "./passage.js";
import { bars, shown } from "./scores.js";
import { unbroken } from "./spans.js";
import { why } from "./why.js";

const NEIGHBOURS = 2;

/** One hit in the list, with what is shown of it on demand. */
export class Hit {
  #hit;
  #more;
  #text = make("p", { class: "text" });
  #panels = { why: null, neighbours: null };
  #met = new Map();

  /**
   * `number`: its place in the ranking, from 0. `most`: the score whose bar is full.
   * `more(number, what)`: asks for the hit once more, with `what`.
   * `similar(hit)`: searches for what is similar. `fail(error)`: shows an error.
   */
  constructor(hit, number, most, { more, similar, fail }) {
    this.#hit = hit;
    this.#more = (what) => more(number, what);
    this.fail = fail;
    const button = (name, key, label) => this.#button(name, key, label, number);
    this.buttons = { why: button("why", "e", "Why"), neighbours: button("neighbours", "o", "Neighbours") };
    this.element = make(
      "li",
      { class: "hit", id: `hit-${number}`, tabindex: "-1", "aria-labelledby": `title-${number}` },
      make("div", { class: "said" }, this.#heading(number), this.#text, metadata(hit)),
      make(
        "div",
        { class: "scored" },
        bars(hit, most),
        hit.chunks?.length ? others(hit.chunks) : null,
      ),
      make(
        "div",
        { class: "actions" },
        this.buttons.why,
        this.buttons.neighbours,
        make(
          "button",
          { type: "button", class: "quiet", onclick: () => similar(hit) },
          "Similar documents",
        ),
      ),
    );
    this.#write();
  }

  get id() {
    return this.#hit.id;
  }

  isOpen(name) {
    return this.#panels[name] !== null;
  }

  async toggle(name) {
    if (this.isOpen(name)) this.close(name);
    else await this.open(name);
  }

  async open(name) {
    try {
      const nodes = name === "why" ? await this.#why() : await this.#neighbours();
      if (this.isOpen(name)) return;
      this.#panels[name] = make("div", { class: `panel ${name}`, id: this.#panel(name) }, nodes);
      this.element.append(this.#panels[name]);
      this.buttons[name].setAttribute("aria-expanded", "true");
      this.#write();
    } catch (error) {
      this.fail(error);
    }
  }

  /** One panel, or all; whether there was one. */
  close(...names) {
    const open = (names.length ? names : Object.keys(this.#panels)).filter((name) => this.isOpen(name));
    for (const name of open) {
      this.#panels[name].remove();
      this.#panels[name] = null;
      this.buttons[name].setAttribute("aria-expanded", "false");
    }
    this.#write();
    return open.length > 0;
  }

  #heading(number) {
    const { title, heading, page, document_id: id, source, position } = this.#hit;
    const place = [...heading, page === null ? "" : `page ${page}`].filter(Boolean).join(" › ");
    return [
      make("h3", { id: `title-${number}` }, make("span", { class: "rank" }, `${number + 1}`), " ", title || id),
      make(
        "p",
        { class: "place" },
        make("code", {}, id),
        source === "default" ? null : make("span", {}, `from ${source}`),
        make("span", {}, `passage ${position + 1}`),
        place ? make("span", {}, place) : null,
      ),
    ];
  }

  #button(name, key, label, number) {
    return make(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-expanded": "false",
        "aria-controls": `${name}-${number}`,
        "aria-keyshortcuts": key,
        onclick: () => this.toggle(name),
      },
      label,
      make("kbd", { "aria-hidden": "true" }, key),
    );
  }

  #panel(name) {
    return this.buttons[name].getAttribute("aria-controls");
  }

  #write() {
    const { text, explain } = this.#hit;
    const aligned = this.isOpen("why") ? explain.alignment : [];
    const { nodes, met } = passage(text, explain?.spans ?? [], aligned);
    this.#met = met;
    this.#text.replaceChildren(...nodes);
  }

  async #why() {
    if (!this.#hit.explain) this.#hit = await this.#again({ explain: true });
    return why(this.#hit, (number) => this.#light(number));
  }

  #light(number) {
    for (const element of this.#text.querySelectorAll(".lit")) element.classList.remove("lit");
    for (const element of this.#met.get(number) ?? []) element.classList.add("lit");
  }

  async #neighbours() {
    const { neighbours, position } = await this.#again({ neighbours: NEIGHBOURS, explain: false });
    if (!neighbours.length) return make("p", { class: "none" }, "It is all of its document.");
    const before = neighbours.filter((each) => each.position < position);
    const after = neighbours.slice(before.length);
    return [...before.map(near), make("p", { class: "here" }, "this passage"), ...after.map(near)];
  }

  async #again(what) {
    const hit = await this.#more(what);
    if (hit?.id === this.id) return hit;
    const detail = "the collection has changed since these hits were found: search again";
    throw new Problem({ status: 409, code: "changed", detail });
  }
}

const near = ({ position, text, heading }) =>
  make(
    "div",
    { class: "near" },
    make("p", { class: "place" }, [`passage ${position + 1}`, ...heading].join(" › ")),
    make("p", { class: "text" }, unbroken(text)),
  );

function metadata({ metadata: known }) {
  const entries = Object.entries(known).filter(([, value]) => value !== null);
  if (!entries.length) return null;
  return make(
    "dl",
    { class: "metadata" },
    entries.map(([name, value]) => {
      const said = typeof value === "object" ? JSON.stringify(value) : String(value);
      return make("div", {}, make("dt", {}, name), make("dd", { title: said }, said));
    }),
  );
}

const others = (chunks) =>
  make(
    "details",
    { class: "others" },
    make("summary", {}, `${chunks.length} more of this document`),
    make(
      "ul",
      { tabindex: "0", "aria-label": "Other passages" },
      chunks.map(({ position, score }) =>
        make("li", {}, `passage ${position + 1}`, make("span", {}, shown(score))),
      ),
    ),
  );

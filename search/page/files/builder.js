import { find, make } from "./dom.js";
import { blank, condition, fromApi, group, retyped, toApi } from "./filter.js";
import { kindOf, operatorsOf, valueOf } from "./operators.js";

const JOINS = [
  ["and", "all of"],
  ["or", "any of"],
];
const ANSWERS = [
  ["true", "yes"],
  ["false", "no"],
];

/** Filters as people put them together, over a collection's declared fields. */
export class Builder {
  #fields = {};
  #root = group();
  #told = null;
  #tell;

  /** `tell`: called when the filter is another. */
  constructor(tell) {
    this.#tell = tell;
  }

  /** The API's form; null for none. */
  get filter() {
    return toApi(this.#root, this.#fields);
  }

  /** Begin with a filter over these fields; one that does not fit them is left out. */
  show(filter, fields) {
    this.#fields = fields;
    try {
      this.#root = fromApi(filter, fields);
    } catch {
      this.#root = group();
    }
    this.#told = JSON.stringify(this.filter);
    this.#draw();
  }

  #changed() {
    const now = JSON.stringify(this.filter);
    if (now === this.#told) return;
    this.#told = now;
    this.#tell();
  }

  #draw() {
    const nothing = make("p", { class: "none" }, "This collection declares no fields to filter on.");
    find("#filter").replaceChildren(Object.keys(this.#fields).length ? this.#group(this.#root) : nothing);
  }

  #redraw() {
    const controls = () => [...find("#filter").querySelectorAll("select, input, button")];
    const at = controls().indexOf(document.activeElement);
    this.#draw();
    // The focus stays where it was: on what was changed, put in, or came after what was taken out.
    controls().at(Math.min(at, controls().length - 1))?.focus();
    this.#changed();
  }

  #group(node, parent = null) {
    const choice = options("Join", JOINS, node.join, (join) => {
      node.join = join;
      this.#changed();
    });
    return make(
      "div",
      { class: "group" },
      parent || node.parts.length > 1
        ? make("div", { class: "line" }, parent ? this.#not(node) : null, choice, parent ? this.#remove(node, parent) : null)
        : null,
      node.parts.map((part) => (part.parts ? this.#group(part, node) : this.#condition(part, node))),
      make(
        "div",
        { class: "line" },
        this.#add(node, "Add condition", () => condition(this.#fields)),
        parent ? null : this.#add(node, "Add group", () => group(condition(this.#fields))),
      ),
    );
  }

  #condition(node, parent) {
    const type = this.#fields[node.field];
    const names = Object.keys(this.#fields).map((name) => [name, name]);
    return make(
      "div",
      { class: "line condition" },
      this.#not(node),
      options("Field", names, node.field, (field) => {
        retyped(Object.assign(node, { field }), this.#fields[field]);
        this.#redraw();
      }),
      options("Comparison", operatorsOf(type), node.operator, (operator) => {
        if (kindOf(type, operator) !== kindOf(type, node.operator)) node.text = blank(type, operator);
        node.operator = operator;
        this.#redraw();
      }),
      this.#value(node, type),
      this.#remove(node, parent),
    );
  }

  #value(node, type) {
    const kind = kindOf(type, node.operator);
    const write = (text) => {
      node.text = text;
      this.#changed();
    };
    if (kind === "bool") return options("Value", ANSWERS, node.text, write);
    const field = make("input", {
      "aria-label": "Value",
      type: kind,
      step: type === "int" ? "1" : "any",
      value: node.text,
      placeholder: node.operator === "in" ? "one, another" : null,
      oninput: ({ target }) => {
        write(target.value);
        say();
      },
    });
    // What is not a value yet does not filter yet.
    const say = () => field.setAttribute("aria-invalid", String(valueOf(type, node.operator, node.text) === undefined));
    say();
    return field;
  }

  #not(node) {
    return make(
      "button",
      {
        type: "button",
        class: "not",
        "aria-pressed": String(node.not),
        onclick: ({ currentTarget }) => {
          node.not = !node.not;
          currentTarget.setAttribute("aria-pressed", String(node.not));
          this.#changed();
        },
      },
      "not",
    );
  }

  #add(node, label, part) {
    const does = () => {
      node.parts.push(part());
      this.#redraw();
    };
    return make("button", { type: "button", class: "quiet", onclick: does }, label);
  }

  #remove(node, parent) {
    const does = () => {
      parent.parts.splice(parent.parts.indexOf(node), 1);
      this.#redraw();
    };
    return make("button", { type: "button", class: "quiet", "aria-label": "Remove", onclick: does }, "×");
  }
}

function options(label, choices, chosen, choose) {
  return make(
    "select",
    { "aria-label": label, onchange: ({ target }) => choose(target.value) },
    choices.map(([value, name]) => make("option", { value, selected: value === chosen }, name)),
  );
}

import { facts } from "./facts.js";

/** How operators are called, in the order in which they are offered. */
const NAMES = {
  eq: "is",
  ne: "is not",
  in: "is one of",
  contains: "contains",
  lt: "<",
  lte: "≤",
  gt: ">",
  gte: "≥",
  exists: "exists",
};

const READ = {
  string: (text) => text || undefined,
  strings: (text) => text || undefined,
  bool: (text) => ({ true: true, false: false })[text],
  int: (text) => (Number.isSafeInteger(number(text)) ? number(text) : undefined),
  float: (text) => number(text),
};

/** Operators of a field's type, as `[operator, name]`. */
export const operatorsOf = (type) =>
  Object.entries(NAMES).filter(([operator]) => facts.operators[type].includes(operator));

/** What a value is typed into: `bool`, `number` or `text`. */
export function kindOf(type, operator) {
  if (operator === "exists" || (type === "bool" && operator !== "in")) return "bool";
  return operator !== "in" && (type === "int" || type === "float") ? "number" : "text";
}

/** A typed value from what people wrote; undefined where it is not one yet. */
export function valueOf(type, operator, text) {
  if (operator === "exists") return READ.bool(text);
  if (operator !== "in") return READ[type](text.trim());
  const values = text.split(",").map((each) => READ[type](each.trim()));
  return values.includes(undefined) ? undefined : values;
}

/** The other way round. */
export const textOf = (value) => (Array.isArray(value) ? value.join(", ") : String(value ?? true));

function number(text) {
  return text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
}

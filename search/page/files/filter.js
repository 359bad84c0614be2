import { kindOf, operatorsOf, textOf, valueOf } from "./operators.js";

/**
 * A filter while it is built: groups `{join: "and"|"or", not, parts}` of conditions
 * `{field, operator, text, not}` and groups.
 */
export const group = (...parts) => ({ join: "and", not: false, parts });

export function condition(fields) {
  const [field, type] = Object.entries(fields)[0];
  return retyped({ field, not: false }, type);
}

/** A condition after its field has changed, so that its operator and value fit. */
export function retyped(node, type) {
  const operators = operatorsOf(type).map(([operator]) => operator);
  const operator = operators.includes(node.operator) ? node.operator : operators[0];
  return Object.assign(node, { operator, text: blank(type, operator) });
}

export const blank = (type, operator) => (kindOf(type, operator) === "bool" ? "true" : "");

/** The API's form; null where nothing is complete yet. */
export function toApi(node, fields) {
  const made = node.parts ? joined(node, fields) : compared(node, fields);
  return made && node.not ? { not: made } : made;
}

function joined({ join, parts }, fields) {
  const made = parts.map((part) => toApi(part, fields)).filter(Boolean);
  return made.length > 1 ? { [join]: made } : (made[0] ?? null);
}

function compared({ field, operator, text }, fields) {
  const value = valueOf(fields[field], operator, text);
  return value === undefined ? null : { field, op: operator, value };
}

/** From the API's form, as a group. Throws where it is no filter over these fields. */
export function fromApi(filter, fields) {
  const node = filter === null ? group() : read(filter, fields, false);
  return node.parts && !node.not ? node : group(node);
}

function read(filter, fields, not) {
  if (filter.not) return read(filter.not, fields, !not);
  const join = ["and", "or"].find((each) => Array.isArray(filter[each]));
  if (join) return { join, not, parts: filter[join].map((part) => read(part, fields, false)) };
  const { field, op: operator, value } = filter;
  if (!operatorsOf(fields[field]).some(([known]) => known === operator)) throw new TypeError(operator);
  return { field, operator, text: textOf(value), not };
}

import { make } from "./dom.js";
import { called, SCORES } from "./facts.js";

export const shown = (number) => (number === null ? "–" : number.toFixed(3));

/**
 * The fused score and the three that it is made of, as bars.
 *
 * `most`: the fused score whose bar is full. A fused bar is its scores' shares, one after the
 * other, where they are known.
 */
export function bars(hit, most) {
  return make(
    "dl",
    { class: "scores" },
    line("score", "fused", hit.score, shares(hit, most)),
    SCORES.map((name) => line(called(name), name, hit.scores[name], [part(name, hit.scores[name])])),
  );
}

function line(label, name, score, parts) {
  return make(
    "div",
    { class: name },
    make("dt", {}, label),
    make("dd", { class: "bar", "aria-hidden": "true" }, parts),
    make("dd", { title: score === null ? "dropped out" : score }, shown(score)),
  );
}

function shares(hit, most) {
  const known = hit.explain?.contributions;
  if (!known) return [part("fused", hit.score / most)];
  return SCORES.map((name) => part(name, (known[name] ?? 0) / most));
}

function part(name, value) {
  const width = Math.min(Math.max(value ?? 0, 0), 1);
  return make("span", { class: name, css: { "--v": width } });
}

import { make } from "./dom.js";
import { called, SCORES } from "./facts.js";
import { shown } from "./scores.js";

/**
 * Why a hit is one: how its score comes about, the terms that matched, the tokens that met.
 *
 * `light`: called with the number of the query token that is looked at, or null.
 */
export function why(hit, light) {
  const { explain } = hit;
  return [
    make("div", { class: "sum" }, heading("Score"), sum(hit)),
    make("div", { class: "terms" }, heading("Matched terms"), terms(explain.terms)),
    make(
      "div",
      { class: "alignment" },
      heading("ColBERT: each token of the query, and the one it meets"),
      alignment(explain.alignment, light),
    ),
  ];
}

const heading = (text) => make("h4", {}, text);
const row = (tag, ...cells) => make("tr", {}, cells.map((cell) => make(tag, {}, cell)));

function sum({ explain, score, scores }) {
  const { weights, contributions, ranks } = explain;
  const legs = ranks ? ["dense", "sparse"] : SCORES;
  const factor = (name) => (ranks ? ranks[name] ?? "–" : shown(weights[name]));
  return make(
    "table",
    {},
    make("thead", {}, row("th", "", ranks ? "rank" : "weight", "score", "adds")),
    make(
      "tbody",
      {},
      legs.map((name) =>
        make(
          "tr",
          { class: name },
          make("th", { scope: "row" }, called(name)),
          [factor(name), shown(scores[name]), adds(contributions[name], ranks)].map((cell) =>
            make("td", {}, String(cell)),
          ),
        ),
      ),
    ),
    make(
      "tfoot",
      {},
      make(
        "tr",
        {},
        make("th", { scope: "row", colspan: "3" }, ranks ? "sum of 1 / (60 + rank)" : "sum"),
        make("td", {}, adds(score, ranks)),
      ),
    ),
  );
}

const adds = (value, ranks) => (value === null ? "–" : value.toFixed(ranks ? 4 : 3));

function terms(found) {
  if (!found.length) return make("p", { class: "none" }, "None: no term stands in both.");
  const most = Math.max(...found.map((term) => term.product));
  return make(
    "table",
    {},
    make("thead", {}, row("th", "", "query", "passage", "adds to sparse")),
    make(
      "tbody",
      {},
      found.map((term) =>
        make(
          "tr",
          { class: "sparse" },
          make("th", { scope: "row" }, plain(term.term)),
          make("td", {}, shown(term.query_weight)),
          make("td", {}, shown(term.passage_weight)),
          make("td", { class: "filled", css: { "--v": term.product / most } }, shown(term.product)),
        ),
      ),
    ),
  );
}

function alignment(tokens, light) {
  if (!tokens.length) return make("p", { class: "none" }, "No tokens to compare.");
  return make(
    "ol",
    { class: "tokens" },
    tokens.map((token, number) =>
      make(
        "li",
        {},
        make(
          "button",
          {
            type: "button",
            css: { "--v": Math.max(token.score, 0) },
            title: token.span ? null : "not in the text: of its title, or a mark of the model",
            onpointerenter: () => light(number),
            onpointerleave: () => light(null),
            onfocus: () => light(number),
            onblur: () => light(null),
          },
          make("b", {}, plain(token.query_token)),
          make("span", { class: token.span ? null : "outside" }, plain(token.token)),
          ...token.also.map((other) =>
            make("span", { class: other.span ? null : "outside" }, plain(other.token)),
          ),
          make("small", {}, token.score.toFixed(2)),
        ),
      ),
    ),
  );
}

/** A token as people read it: SentencePiece writes white space as ▁. */
const plain = (token) => token.replaceAll("\u2581", "") || "␣";

import { make } from "./dom.js";
import { pieces, unbroken } from "./spans.js";

/**
 * A hit's text: matched terms marked, and tokens that ColBERT met shaded by how well.
 *
 * `alignment`: the explanation's, or nothing to shade. Returns the nodes, and for each query
 * token's number the elements that it met.
 */
export function passage(text, terms, alignment = []) {
  const met = new Map();
  const spans = [
    ...terms.map(([start, end]) => ({ start, end, term: true })),
    ...alignment.flatMap(({ span, also, score }, number) =>
      [span, ...also.map((other) => other.span)].flatMap((each) =>
        each ? [{ start: each[0], end: each[1], number, score }] : [],
      ),
    ),
  ];
  const nodes = pieces(unbroken(text), spans).map((piece) => {
    const aligned = piece.within.filter((span) => !span.term);
    const isTerm = piece.within.length > aligned.length;
    if (!piece.within.length) return piece.text;
    const best = Math.max(0, ...aligned.map((span) => span.score));
    const element = make(
      isTerm ? "mark" : "span",
      { class: aligned.length ? "met" : null, css: aligned.length ? { "--v": best } : {} },
      piece.text,
    );
    for (const { number } of aligned) met.set(number, [...(met.get(number) ?? []), element]);
    return element;
  });
  return { nodes, met };
}

/**
 * A text cut wherever a span begins or ends: `[{text, within: [span…]}…]`.
 *
 * Spans are `{start, end}` in code points, as the API counts; a string counts UTF-16 units.
 */
export function pieces(text, spans) {
  const characters = Array.from(text);
  const cuts = new Set([0, characters.length]);
  for (const { start, end } of spans) {
    cuts.add(Math.min(start, characters.length));
    cuts.add(Math.min(end, characters.length));
  }
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(1).map((end, i) => ({
    text: characters.slice(places[i], end).join(""),
    within: spans.filter((span) => span.start < end && span.end > places[i]),
  }));
}

/**
 * A text whose long lines were broken to fit a page, with spaces for those breaks: every
 * character stays in its place. Lists, headings, tables, quotes and paragraphs keep theirs.
 */
export const unbroken = (text) =>
  text.replace(/(?<=[^\n]{60})\n(?![\n\s\-*+#|>\u2022]|\d+[.)])/g, " ");

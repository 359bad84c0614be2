/** What the server wrote into the page: methods, presets, operators, limits. */
export const facts = JSON.parse(document.querySelector("#facts").textContent);

export const SCORES = Object.freeze(["dense", "sparse", "colbert"]);

/** How scores and methods are called in front of people. */
export const called = (name) =>
  ({ colbert: "ColBERT", "dense+sparse": "dense + sparse" })[name] ?? name;

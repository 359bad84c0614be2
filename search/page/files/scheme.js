/* Light, dark, or as the system has it. No module: it is read before anything is painted. */
"use strict";
{
  const KEY = "m3-scheme";
  const SCHEMES = ["auto", "light", "dark"];
  const root = document.documentElement;

  const kept = () => {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // A browser that keeps nothing for us.
    }
  };
  const keep = (scheme) => {
    try {
      localStorage.setItem(KEY, scheme);
    } catch {
      // It holds until the page is left.
    }
  };

  root.dataset.scheme = SCHEMES.includes(kept()) ? kept() : "auto";
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.querySelector("#scheme");
    const say = () => {
      button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[root.dataset.scheme];
    };
    button.addEventListener("click", () => {
      const next = SCHEMES[(SCHEMES.indexOf(root.dataset.scheme) + 1) % SCHEMES.length];
      root.dataset.scheme = next;
      keep(next);
      say();
    });
    say();
  });
}

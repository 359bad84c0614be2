import { find } from "./dom.js";
import { storage } from "./storage.js";

const KEPT = "m3-keys";
const browser = storage("localStorage");
const TYPED = "input:not([type=radio], [type=checkbox], [type=range]), textarea";

/** Whether single letters do something: they get in the way of some who speak to their machine. */
const letters = {
  get on() {
    return browser.getItem(KEPT) !== "off";
  },
  set on(is) {
    browser.setItem(KEPT, is ? "on" : "off");
  },
};

/** `actions`: `move(by)`, `current()` for the hit in focus, `close()`. */
export function listen(actions) {
  const keys = find("#keys");
  find("#help").addEventListener("click", () => keys.showModal());
  find("#letters").checked = letters.on;
  find("#letters").addEventListener("change", ({ target }) => {
    letters.on = target.checked;
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || keys.open) return;
    const does = action(event, actions);
    if (!does) return;
    event.preventDefault();
    does();
  });
}

function action({ key, target }, { move, current, close }) {
  const typing = target.matches(TYPED);
  if (key === "Escape") return typing ? () => target.blur() : close;
  if (target.id === "query" && key === "ArrowDown") return () => move(1);
  if (typing || target.matches("select, input")) return null;
  const always = { ArrowDown: () => move(1), ArrowUp: () => move(-1) }[key];
  if (always || !letters.on) return always;
  const hit = current();
  return {
    "/": () => find("#query").select(),
    "?": () => find("#keys").showModal(),
    j: () => move(1),
    k: () => move(-1),
    e: hit && (() => hit.toggle("why")),
    o: hit && (() => hit.toggle("neighbours")),
  }[key];
}

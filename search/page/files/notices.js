import { find, make } from "./dom.js";
import { called } from "./facts.js";

/** What stands between the form and the hits: errors, and what a search went without. */
export const notices = {
  clear: () => find("#notices").replaceChildren(),

  /** `actions`: buttons, as `[label, what it does]`. */
  problem(error, actions = []) {
    const said = error.message.charAt(0).toUpperCase() + error.message.slice(1);
    find("#notices").replaceChildren(
      make(
        "div",
        { class: "notice error", role: "alert" },
        make("p", {}, said.endsWith(".") ? said : `${said}.`),
        error.request ? make("p", { class: "place" }, `request ${error.request}`) : null,
        actions.map(([label, does]) => make("button", { type: "button", onclick: does }, label)),
      ),
    );
  },

  degraded(parts) {
    if (!parts.length) return;
    const names = parts.map(called).join(" and ");
    const whose = parts.length > 1 ? "Their" : "Its";
    find("#notices").append(
      make(
        "div",
        { class: "notice", role: "status" },
        make(
          "p",
          {},
          make("strong", {}, `This search went without ${names}. `),
          `${whose} scores are missing; what is left is weighted anew.`,
        ),
      ),
    );
  },
};

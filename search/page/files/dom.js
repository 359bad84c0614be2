/**
 * An element. Strings among the children become text, never markup.
 *
 * `attributes`: `onclick` and its like are listeners, `css` custom properties by name, `true` an
 * attribute without a value; null and false are left out.
 */
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "css") set(made, value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Custom properties, which a policy without inline styles lets scripts set. */
export function set(element, properties) {
  for (const [name, value] of Object.entries(properties)) {
    element.style.setProperty(name, value);
  }
}

export const find = (selector) => document.querySelector(selector);

/** Calls that come within `ms` of each other are one, the last. */
export function settled(ms, call) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), ms);
  };
}

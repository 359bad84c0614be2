/** A browser's store, `localStorage` or `sessionStorage`; where it keeps nothing for us, memory. */
export const storage = (name) => allowed(name) ?? memory();

function allowed(name) {
  try {
    return window[name];
  } catch {
    return null;
  }
}

function memory() {
  const held = new Map();
  return {
    getItem: (key) => held.get(key) ?? null,
    setItem: (key, value) => held.set(key, value),
    removeItem: (key) => held.delete(key),
  };
}

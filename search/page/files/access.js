/** The API key, for as long as this tab is open: never in the address, nor in any other store. */
const NAME = "m3-key";

export const key = {
  get: () => sessionStorage.getItem(NAME),
  set: (secret) => sessionStorage.setItem(NAME, secret),
  forget: () => sessionStorage.removeItem(NAME),
};

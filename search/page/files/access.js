import { storage } from "./storage.js";

/** The API key, for as long as this tab is open: never in the address, nor in any other store. */
const NAME = "m3-key";
const tab = storage("sessionStorage");

export const key = {
  get: () => tab.getItem(NAME),
  set: (secret) => tab.setItem(NAME, secret),
  forget: () => tab.removeItem(NAME),
};

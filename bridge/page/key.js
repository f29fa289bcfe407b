// The API key, where the bridge asks for one: kept in this tab until it is closed, sent nowhere but to the bridge.

import { session } from "./storage.js";

const KEPT = "ragline.key";

export const key = {
  get value() {
    return session.getItem(KEPT) ?? "";
  },
  set value(text) {
    if (text) session.setItem(KEPT, text);
    else session.removeItem(KEPT);
  },
  get headers() {
    return this.value ? { Authorization: `Bearer ${this.value}` } : {};
  },
};

// A key travels in the name of a websocket subprotocol, which takes no other characters.
export const looksLikeKey = (text) => /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,4096}$/.test(text);

// One line at the bottom that goes by itself, with something to undo if there is.

import { $, el } from "./dom.js";

const SHOWN_MS = 8000;
let timer = 0;

export function toast(text, label = "", act = null) {
  const place = $("toast");
  clearTimeout(timer);
  const clear = () => place.replaceChildren();
  const button = act && el("button", { type: "button", class: "quiet-button" }, label);
  button?.addEventListener("click", () => {
    clear();
    act();
  });
  place.replaceChildren(el("p", {}, text), ...(button ? [button] : []));
  // Who points at it or has the keyboard there is not hurried.
  const later = () =>
    (timer = setTimeout(() => (place.matches(":hover, :focus-within") ? later() : clear()), SHOWN_MS));
  later();
}

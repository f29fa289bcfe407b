// Light, dark, or as the system says.

import { $ } from "./dom.js";
import { local } from "./storage.js";
import { announce } from "./announce.js";

const KEPT = "ragline.theme";
const NEXT = { system: "light", light: "dark", dark: "system" };
const NAMES = { system: "as the system", light: "light", dark: "dark" };

export function startTheme() {
  const button = $("theme");
  const read = () => document.documentElement.dataset.theme ?? "system";
  const label = () => {
    const text = `Theme: ${NAMES[read()]}`;
    button.setAttribute("aria-label", text);
    button.title = text;
  };
  button.addEventListener("click", () => {
    const theme = NEXT[read()];
    if (theme === "system") {
      delete document.documentElement.dataset.theme;
      local.removeItem(KEPT);
    } else {
      document.documentElement.dataset.theme = theme;
      local.setItem(KEPT, theme);
    }
    label();
    announce(button.title);
  });
  label();
}

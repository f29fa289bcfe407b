// Builds elements. Text becomes text nodes; nothing here reads markup, whoever wrote it.

export const $ = (id) => document.getElementById(id);

// Attributes that are null, undefined or false are left out; those that begin with "on" are listeners.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Shows a text, or hides the element when there is none. Leaves the page alone when nothing changes.
export function say(element, text) {
  if (element.hidden !== !text) element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;
}

const ICONS = {
  add: "M8 3v10M3 8h10",
  again: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5v2.7h-2.7",
  attach: "M13 7.3 7.9 12.4a3 3 0 0 1-4.3-4.3l5.3-5.2a2 2 0 0 1 2.9 2.8L6.6 11a1 1 0 0 1-1.5-1.4l4.5-4.4",
  check: "m3 8.5 3.2 3L13 4.5",
  close: "m4 4 8 8M12 4l-8 8",
  copy: "M5.5 5.5h7.5v8h-7.5zM3 10.5v-8h7.5",
  down: "M8 3v9M4 8.5 8 12.5l4-4",
  key: "M9.2 6.8 3 13v-2.5M6 10l1.5 1.5M12 6.5a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  next: "m6 3.5 4.5 4.5L6 12.5",
  page: "M4 2h5.5L12.5 5v9H4zM9 2v3.5h3.5",
  previous: "M10 3.5 5.5 8l4.5 4.5",
  remove: "M3 4.5h10M6.5 4V2.5h3V4M4.5 4.5l.6 9h5.8l.6-9",
  send: "M8 13V3.5M3.8 7.5 8 3.3l4.2 4.2",
  stop: "M4.5 4.5h7v7h-7z",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11",
};

// A line drawing; whoever uses it gives the words.
export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", "0 0 16 16");
  picture.setAttribute("class", `icon icon-${name}`);
  picture.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  picture.append(path);
  return picture;
}

// For buttons that are in the page from the beginning: <button data-icon="send">.
export function drawIcons(root) {
  for (const place of root.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Pages over plain HTTP from another machine have no clipboard of their own.
  const field = el("textarea", { class: "unseen", readonly: true });
  field.value = text;
  document.body.append(field);
  const focused = document.activeElement;
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  if (!copied) throw new Error("the browser does not allow copying");
}

// A button that copies what text() gives, and says whether it did.
export function copyButton(label, text) {
  const words = el("span", {}, label);
  const button = el("button", { type: "button", class: "quiet-button" }, icon("copy"), words);
  button.addEventListener("click", async () => {
    try {
      await copy(text());
      words.textContent = "Copied";
    } catch {
      words.textContent = "Not allowed";
    }
    setTimeout(() => (words.textContent = label), 2000);
  });
  return button;
}

export const seconds = (ms) =>
  ms < 1000
    ? `${Math.round(ms)} ms`
    : ms < 60_000
      ? `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`
      : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;

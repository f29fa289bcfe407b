// Uploads as they go on, above the question, and all documents added here, at the side.

import { announce } from "./announce.js";
import { $, el, icon } from "./dom.js";

const KIB = 1024;
const size = (bytes) =>
  bytes < KIB
    ? `${bytes} B`
    : bytes < KIB * KIB
      ? `${Math.round(bytes / KIB)} KB`
      : `${(bytes / KIB / KIB).toFixed(1)} MB`;

function words({ state, sent, message }) {
  if (state === "waiting") return "waits";
  if (state === "sending") return sent < 1 ? `sending, ${Math.round(100 * sent)} %` : "sent, being checked";
  if (state === "reading") return message || "being made searchable";
  if (state === "searchable") return message ? `searchable, ${message}` : "searchable";
  return message || "failed";
}

export class UploadList {
  #told = new Map();
  #rows = new Map();

  // on.remove(upload), on.retry(upload)
  constructor(on) {
    this.on = on;
  }

  render(uploads) {
    const shown = uploads.filter((upload) => upload.shown);
    this.#keep($("uploads"), "row", shown);
    this.#keep($("documents"), "side", uploads);
    $("no-documents").hidden = uploads.length > 0;
    for (const upload of shown) this.#tell(upload);
  }

  hide(upload) {
    upload.shown = false;
    this.#rows.get(`row ${upload.key}`)?.element.remove();
  }

  // Rows stay the same elements, so that the keyboard keeps its place.
  #keep(list, kind, uploads) {
    const rows = uploads.map((upload) => {
      const name = `${kind} ${upload.key}`;
      if (!this.#rows.has(name)) this.#rows.set(name, kind === "row" ? this.#row(upload) : this.#side(upload));
      const row = this.#rows.get(name);
      row.update();
      return row.element;
    });
    if (rows.length !== list.children.length || rows.some((row, place) => row !== list.children[place]))
      list.replaceChildren(...rows);
  }

  #row(upload) {
    const state = el("span", { class: "upload-state" });
    const bar = el("progress", { max: 1, "aria-label": `Sending ${upload.name}` });
    const again = el(
      "button",
      { type: "button", class: "quiet-button", onclick: () => this.on.retry(upload) },
      "Try again",
    );
    const hide = el("button", { type: "button", class: "icon-button" }, icon("close"));
    hide.addEventListener("click", () =>
      upload.state === "searchable" || upload.state === "reading" ? this.hide(upload) : this.on.remove(upload),
    );
    const element = el(
      "li",
      { class: "upload" },
      icon("page"),
      el("span", { class: "upload-name" }, upload.name),
      el("span", { class: "upload-size" }, size(upload.size)),
      state,
      again,
      hide,
      bar,
    );
    const update = () => {
      element.dataset.state = upload.state;
      if (state.textContent !== words(upload)) state.textContent = words(upload);
      bar.hidden = upload.state !== "sending" && upload.state !== "reading";
      if (upload.state === "sending" && upload.sent < 1) bar.value = upload.sent;
      else bar.removeAttribute("value");
      again.hidden = upload.state !== "failed" || !upload.file || upload.id;
      hide.setAttribute(
        "aria-label",
        `${upload.state === "sending" || upload.state === "waiting" ? "Cancel" : "Hide"} ${upload.name}`,
      );
    };
    return { element, update };
  }

  #side(upload) {
    const state = el("span", { class: "side-state" });
    const remove = el(
      "button",
      {
        type: "button",
        class: "icon-button",
        "aria-label": `Remove ${upload.name} from what is searched`,
        onclick: () => this.on.remove(upload),
      },
      icon("remove"),
    );
    const element = el(
      "li",
      {},
      el(
        "span",
        { class: "side-document" },
        el("span", { class: "side-name", title: upload.name }, upload.name),
        state,
      ),
      remove,
    );
    const update = () => {
      element.dataset.state = upload.state;
      if (state.textContent !== words(upload)) state.textContent = words(upload);
    };
    return { element, update };
  }

  #tell({ key, name, state, message }) {
    if (this.#told.get(key) === state) return;
    this.#told.set(key, state);
    if (state === "sending") announce(`Sending ${name}.`);
    if (state === "searchable") announce(`${name} is searchable now.`);
    if (state === "failed") announce(`${name} could not be added. ${message}`);
  }
}

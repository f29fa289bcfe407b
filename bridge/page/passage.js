// The passage that a citation names, with the words that match marked. Beside the answer where there is room, else
// over it. A passage is hostile text: it is shown as it is, as text.

import { $, copyButton, el, icon } from "./dom.js";
import { safeAddress } from "./inline.js";
import { matches, stems } from "./words.js";

const ROOMY = window.matchMedia("(min-width: 1180px)");

export class PassagePanel {
  #shown = null; // {sources, place, wanted}
  #opener = null;

  constructor() {
    this.dialog = $("passage");
    this.dialog.addEventListener("close", () => this.#closed());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.close());
    this.dialog.addEventListener("keydown", (event) => this.#keyed(event));
    ROOMY.addEventListener("change", () => this.#shown && this.#place());
  }

  // number: of the source; texts: what it is cited for; opener: where the keyboard goes back to.
  open(sources, number, texts, opener) {
    const place = sources.findIndex((source) => source.number === number);
    if (place < 0) return;
    this.#opener = opener;
    this.#shown = { sources, place, wanted: stems(...texts) };
    this.#draw();
    this.#place();
    $("passage-title").focus({ preventScroll: true });
    this.#scrollToMatch();
  }

  close() {
    if (!this.dialog.open) return;
    this.dialog.close();
    this.#giveBack();
  }

  #place() {
    if (this.dialog.open) {
      // Closed and opened again without telling: it only changes its place.
      const shown = this.#shown;
      this.#shown = null;
      this.dialog.close();
      this.#shown = shown;
    }
    document.body.classList.toggle("with-passage", ROOMY.matches);
    if (ROOMY.matches) this.dialog.show();
    else this.dialog.showModal();
  }

  #closed() {
    // The event comes later: when it does, the dialog may be open again.
    if (this.dialog.open) return;
    this.#shown = null;
    document.body.classList.remove("with-passage");
    // Whoever has gone on with the keyboard meanwhile is not called back.
    if (document.activeElement === document.body) this.#giveBack();
  }

  #giveBack() {
    const opener = this.#opener?.isConnected ? this.#opener : $("question");
    opener.focus({ preventScroll: true });
  }

  #keyed(event) {
    if (event.key === "Escape") this.close();
    else if (event.key === "ArrowLeft") this.#turn(-1);
    else if (event.key === "ArrowRight") this.#turn(1);
    else return;
    event.preventDefault();
  }

  #turn(by) {
    const place = this.#shown.place + by;
    if (!this.#shown.sources[place]) return;
    this.#shown.place = place;
    this.#draw();
    $("passage-title").focus({ preventScroll: true });
    this.#scrollToMatch();
  }

  #scrollToMatch() {
    const body = this.dialog.querySelector(".passage-text");
    body.scrollTop = 0;
    const first = body.querySelector("mark");
    if (first && first.offsetTop - body.offsetTop > body.clientHeight * 0.8)
      body.scrollTop = first.offsetTop - body.offsetTop - body.clientHeight / 3;
  }

  #draw() {
    const { sources, place, wanted } = this.#shown;
    const { number, passage } = sources[place];
    const pieces = matches(passage.text, wanted);
    const hits = pieces.filter((piece) => piece.hit).length;
    const shown = pieces.map(({ text, hit }) => (hit ? el("mark", {}, text) : text));
    const turn = (by, label, name) =>
      el(
        "button",
        {
          type: "button",
          class: "icon-button",
          "aria-label": label,
          disabled: !sources[place + by],
          onclick: () => this.#turn(by),
        },
        icon(name),
      );
    this.dialog.replaceChildren(
      el(
        "header",
        { class: "passage-head" },
        el(
          "p",
          { class: "passage-count" },
          el("span", { class: "number" }, String(number)),
          ` Source ${place + 1} of ${sources.length}`,
        ),
        turn(-1, "Previous source", "previous"),
        turn(1, "Next source", "next"),
        el(
          "button",
          { type: "button", class: "icon-button", "aria-label": "Close the passage", onclick: () => this.close() },
          icon("close"),
        ),
      ),
      el("h2", { id: "passage-title", tabindex: -1 }, passage.title || passage.document_id),
      el(
        "p",
        { class: "passage-facts" },
        ...origin(passage),
        ` · ${[...whereabouts(passage), `part ${passage.ordinal + 1}`, `similarity ${passage.score.toFixed(2)}`].join(" · ")}`,
      ),
      ...details(passage),
      el(
        "p",
        { class: "passage-hits" },
        hits
          ? `${hits} matching ${hits === 1 ? "word" : "words"} marked`
          : "No word matches; the passage is close in meaning.",
      ),
      el("div", { class: "passage-text", tabindex: 0, role: "region", "aria-label": "Passage" }, ...shown),
      el(
        "footer",
        {},
        copyButton("Copy the passage", () => passage.text),
      ),
    );
  }
}

function whereabouts({ page, last_page, heading }) {
  const pages = page === undefined ? [] : [page === last_page ? `page ${page}` : `pages ${page}-${last_page}`];
  return heading ? [...pages, heading] : pages;
}

// What the document says of itself.
function details({ metadata = {} }) {
  const named = Object.entries(metadata);
  if (!named.length) return [];
  const terms = named.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]);
  return [el("dl", { class: "passage-metadata" }, ...terms)];
}

function origin({ source, document_id }) {
  const address = safeAddress(source);
  if (!address) return [source || document_id];
  return [el("a", { href: address.href, target: "_blank", rel: "noopener noreferrer nofollow" }, source)];
}

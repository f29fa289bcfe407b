// The turns of the conversation that is shown, drawn once for all messages between two frames.

import { $ } from "./dom.js";
import { TurnView } from "./turn.js";

const NEAR_END = 120;
const TICK_MS = 100;

export class Thread {
  #views = [];
  #drawing = false;
  #following = true;

  // on.retry(request), on.edit(request), on.upload(), on.passage(request, number, texts, opener)
  constructor(on) {
    this.on = on;
    this.connected = false;
    setInterval(() => this.#tick(), TICK_MS);
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    $("newest").addEventListener("click", () => this.toEnd());
  }

  show(conversation, connected) {
    const before = new Map(this.#views.map((view) => [view.request, view]));
    const other = !conversation.requests.some((request) => before.has(request));
    this.#views = conversation.requests.map((request) => before.get(request) ?? this.#view(request));
    const elements = this.#views.map((view) => view.element);
    if (
      elements.length !== $("thread").children.length ||
      elements.some((element, place) => element !== $("thread").children[place])
    )
      $("thread").replaceChildren(...elements);
    this.connected = connected;
    for (const view of this.#views) if (!view.settled) view.render(connected);
    if (conversation.requests.length === 0) window.scrollTo(0, 0);
    else if (other) this.toEnd();
  }

  // While the page is hidden there are no frames, and nobody to draw for.
  draw(connected) {
    this.connected = connected;
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      for (const view of this.#views) if (!view.settled) view.render(this.connected);
      this.#keepUp();
    });
  }

  toEnd() {
    this.#following = true;
    this.#keepUp();
  }

  #view(request) {
    const { on } = this;
    return new TurnView(request, {
      retry: () => on.retry(request),
      edit: () => on.edit(request),
      upload: () => on.upload(),
      passage: (number, texts, opener) => on.passage(request, number, texts, opener),
    });
  }

  #tick() {
    for (const view of this.#views) if (!view.request.ended) view.renderTime(this.connected);
  }

  // Who scrolled up reads; the page stays where it is.
  #scrolled() {
    const root = document.documentElement;
    this.#following = root.scrollHeight - root.clientHeight - root.scrollTop < NEAR_END;
    $("newest").hidden = this.#following;
  }

  #keepUp() {
    if (this.#following) window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
  }
}

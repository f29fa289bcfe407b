// One question and what became of it. Whatever comes from a model or a document goes in as text, never as markup.

import { announce } from "./announce.js";
import { copyButton, el, icon, say } from "./dom.js";
import { MarkdownView } from "./markdown.js";
import { problemBox, waiting, slowness } from "./states.js";
import { TimelineView } from "./timeline.js";
import { claimBefore } from "./words.js";

export class TurnView {
  #drawn = {};
  #told = 0;
  #wasEnded;
  settled = false; // nothing will change any more

  // on.retry(), on.edit(), on.upload() and on.passage(number, texts, opener)
  constructor(request, on) {
    this.request = request;
    this.on = on;
    this.#wasEnded = request.ended;
    this.timeline = new TimelineView();
    this.waiting = el("p", { class: "waiting", hidden: true });
    this.slow = el("p", { class: "slow", hidden: true });
    this.answer = el("div", { class: "answer" });
    this.problem = el("div");
    this.sources = el("div", { class: "sources", hidden: true });
    this.actions = el("div", { class: "actions", hidden: true });
    this.markdown = new MarkdownView(this.answer, (number) => this.#cite(number));
    const question = el(
      "h2",
      { class: "question", tabindex: -1 },
      el("span", { class: "unseen" }, "You asked: "),
      request.question,
    );
    this.element = el(
      "article",
      { class: "turn", "data-request": request.id },
      question,
      this.timeline.element,
      this.answer,
      this.waiting,
      this.slow,
      this.problem,
      this.sources,
      this.actions,
    );
  }

  render(connected) {
    const { request } = this;
    this.element.dataset.phase = request.phase;
    this.renderTime(connected);
    this.#renderSources();
    this.#renderAnswer();
    this.#markCited();
    this.#renderProblem();
    this.#renderActions();
    if (request.ended && !this.#wasEnded) announce(ending(request));
    this.#wasEnded = request.ended;
    this.settled = request.ended;
  }

  // What changes by itself as time goes on.
  renderTime(connected) {
    this.timeline.render(this.request);
    say(this.waiting, waiting(this.request, connected));
    say(this.slow, slowness(this.request, connected));
  }

  #renderAnswer() {
    const { request } = this;
    const numbers = String((request.sources ?? []).map((source) => source.number));
    const writing = request.busy && request.text !== "";
    if (this.answer.getAttribute("aria-busy") !== String(writing))
      this.answer.setAttribute("aria-busy", String(writing));
    if (this.#drawn.text === request.text && this.#drawn.numbers === numbers && this.#drawn.ended === request.ended)
      return;
    const fresh = this.#drawn.numbers !== numbers || !request.text.startsWith((this.#drawn.text ?? "").slice(0, 40));
    if (fresh) this.#told = 0;
    const whole = this.markdown.update(request.text, request.ended, fresh);
    Object.assign(this.#drawn, { text: request.text, numbers, ended: request.ended });
    this.#tell(whole);
  }

  // Reads out each paragraph once, when it is whole.
  #tell(whole) {
    if (this.#wasEnded) return;
    for (; this.#told < whole; this.#told++) announce(this.answer.children[this.#told]?.textContent ?? "");
  }

  #cite(number) {
    const source = this.request.sources?.find((one) => one.number === number);
    if (!source) return null;
    const title = source.passage.title || source.passage.document_id;
    const button = el(
      "button",
      { type: "button", class: "cite", "aria-label": `Source ${number}: ${title}`, title, "aria-haspopup": "dialog" },
      String(number),
    );
    button.addEventListener("click", () => this.on.passage(number, [claimOf(button), this.request.question], button));
    return button;
  }

  #renderSources() {
    const { sources } = this.request;
    if (sources === this.#drawn.sources) return;
    if (sources && !this.#drawn.sources && !this.#wasEnded) announce(`${sources.length} passages found`);
    this.#drawn.sources = sources;
    this.sources.hidden = !sources?.length;
    const list = el("ol", {}, ...(sources ?? []).map((source) => el("li", {}, this.#sourceButton(source))));
    this.sources.replaceChildren(el("h3", {}, "Sources"), list);
  }

  // What the answer does not rest on stands back.
  #markCited() {
    if (!this.request.ended) return;
    const cited = new Set([...this.answer.querySelectorAll(".cite")].map((cite) => Number(cite.textContent)));
    for (const button of this.sources.querySelectorAll(".source"))
      button.classList.toggle("uncited", cited.size > 0 && !cited.has(Number(button.dataset.number)));
  }

  #sourceButton({ number, passage }) {
    const button = el(
      "button",
      { type: "button", class: "source", "data-number": number, "aria-haspopup": "dialog" },
      el("span", { class: "number" }, String(number)),
      el("span", { class: "source-title" }, passage.title || passage.document_id),
      el("span", { class: "source-score", title: "Cosine similarity to the question" }, passage.score.toFixed(2)),
    );
    button.addEventListener("click", () =>
      this.on.passage(number, [this.request.question, ...this.#claims(number)], button),
    );
    return button;
  }

  #claims(number) {
    return [...this.answer.querySelectorAll(".cite")]
      .filter((cite) => Number(cite.textContent) === number)
      .map(claimOf);
  }

  #renderProblem() {
    const { problem, phase, facts } = this.request;
    const key = JSON.stringify([problem, phase, facts]);
    if (key === this.#drawn.problem) return;
    this.#drawn.problem = key;
    this.problem.replaceChildren(...problemBox(this.request, this.on));
  }

  #renderActions() {
    const { request } = this;
    this.actions.hidden = !request.ended || request.phase === "failed";
    if (this.actions.hidden || this.#drawn.actions === request.phase) return;
    this.#drawn.actions = request.phase;
    const again = el(
      "button",
      { type: "button", class: "quiet-button", onclick: () => this.on.retry() },
      icon("again"),
      el("span", {}, "Ask again"),
    );
    const all = request.text ? [copyButton("Copy", () => withSources(request)), again] : [again];
    this.actions.replaceChildren(...all, el("span", { class: "facts" }, facts(request)));
  }
}

// The sentence before a citation, in the paragraph, item or cell it stands in.
function claimOf(cite) {
  const block = cite.closest("p, li, td, th, h3, h4, h5, h6") ?? cite.parentElement;
  const range = document.createRange();
  range.setStart(block, 0);
  range.setEndBefore(cite);
  return claimBefore(range.toString());
}

function withSources({ text, sources }) {
  const list = (sources ?? []).map(
    ({ number, passage }) =>
      `[${number}] ${passage.title || passage.document_id}${passage.source ? ` (${passage.source})` : ""}`,
  );
  return list.length ? `${text}\n\n${list.join("\n")}` : text;
}

function facts({ facts: known }) {
  if (!known?.usage?.completion_tokens) return "";
  return `${known.model} · ${known.usage.prompt_tokens} tokens read · ${known.usage.completion_tokens} written`;
}

function ending({ phase, problem, sources }) {
  if (phase === "answered")
    return `The answer is complete${sources?.length ? `, with ${sources.length} sources` : ""}.`;
  return phase === "stopped" ? "Stopped." : `There is no answer. ${problem.message}`;
}

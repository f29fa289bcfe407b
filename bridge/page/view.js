// Shows a request. Whatever comes from a model or a document goes in as text, never as markup.

import { STAGES } from "./request.js";

const SLOW_MS = 10_000;
const TITLES = {
  unavailable: "The pipeline cannot be reached",
  unknown_request: "This answer is no longer kept",
  expired: "The answer came too late",
  cancelled: "Cancelled",
};

const $ = (id) => document.getElementById(id);
const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`);

function show(element, text) {
  element.hidden = !text;
  if (element.textContent !== text) element.textContent = text;
}

export class View {
  #shownSources = null;
  #shownText = null;

  constructor() {
    this.rows = new Map(
      STAGES.map((stage) => {
        const row = $("stage-row").content.firstElementChild.cloneNode(true);
        row.querySelector(".stage-name").textContent = stage;
        $("stages").append(row);
        return [stage, row];
      }),
    );
  }

  begin(request) {
    this.#shownSources = this.#shownText = null;
    $("examples").hidden = true;
    $("request").hidden = false;
    $("asked").textContent = request.question;
    $("sources").replaceChildren();
    this.render(request, true);
  }

  render(request, connected) {
    this.renderTime(request);
    this.#renderSources(request);
    this.#renderAnswer(request);
    this.#renderProblem(request);
    show($("waiting"), waiting(request, connected));
    show($("facts"), facts(request));
  }

  // Cheap enough to run many times a second while stages run.
  renderTime(request) {
    const timings = [...request.stages.values()];
    const begin = Math.min(...timings.map((timing) => timing.started_ms));
    const running = request.running;
    const end = running ? Math.max(request.now(), running.started_ms) : Math.max(...timings.map((timing) => timing.finished_ms));
    $("total").textContent = timings.length ? `${seconds(end - begin)} in all` : "";
    for (const [stage, row] of this.rows) {
      const timing = request.stages.get(stage) ?? (running?.stage === stage ? { ...running, finished_ms: end } : null);
      row.dataset.state = stateOf(stage, request, running);
      row.querySelector(".stage-time").textContent = timing ? seconds(timing.finished_ms - timing.started_ms) : "–";
      if (!timing) continue;
      const bar = row.querySelector(".bar");
      const whole = Math.max(end - begin, 1);
      bar.style.left = `${(100 * (timing.started_ms - begin)) / whole}%`;
      bar.style.width = `${(100 * (timing.finished_ms - timing.started_ms)) / whole}%`;
    }
    const slow = running && end - running.started_ms > SLOW_MS && !request.text;
    show($("slow"), slow ? `Still in ${running.stage}. The first answer after a start, or a long queue, takes a while; nothing is lost.` : "");
  }

  #renderAnswer(request) {
    const numbers = new Set((request.sources ?? []).map((source) => source.number));
    const key = `${[...numbers]} ${request.text}`;
    $("answer").setAttribute("aria-busy", String(!request.ended && request.text !== ""));
    if (key === this.#shownText) return;
    this.#shownText = key;
    // Split by a group: text and citation numbers take turns.
    const pieces = request.text.split(/\[(\d{1,3})\]/);
    $("answer").replaceChildren(...pieces.map((piece, place) => (place % 2 ? citation(Number(piece), numbers) : piece)));
  }

  #renderSources(request) {
    const sources = request.sources;
    const none = "No passage was close enough to the question. Ask in other words, or add documents with “ragline ingest FOLDER”.";
    show($("no-sources"), sources?.length ? "" : sources ? none : request.ended ? "None." : "They appear as soon as they are found.");
    if (sources === this.#shownSources || !sources) return;
    const known = JSON.stringify(sources) === JSON.stringify(this.#shownSources);
    this.#shownSources = sources;
    if (!known) $("sources").replaceChildren(...sources.map(card));
    for (const item of $("sources").children) {
      const passage = item.querySelector(".passage");
      item.querySelector(".more").hidden = !item.classList.contains("whole") && passage.scrollHeight <= passage.clientHeight + 1;
    }
  }

  #renderProblem({ problem }) {
    $("problem").hidden = !problem;
    if (!problem) return;
    $("problem-title").textContent = TITLES[problem.code] ?? "There is no answer";
    $("problem-text").textContent = problem.message;
  }
}

function stateOf(stage, request, running) {
  if (request.problem?.stage === stage) return "failed";
  if (request.stages.has(stage)) return "done";
  if (running?.stage === stage) return "running";
  return request.ended ? "skipped" : "pending";
}

function waiting(request, connected) {
  if (request.ended) return "";
  if (!connected && request.phase === "sending") return "Not connected. The question is sent as soon as the page is connected again.";
  if (!connected) return "The connection is lost. The answer is being made all the same, and appears here once the page is connected again.";
  if (request.text) return "";
  if (request.phase === "sending") return "Sending the question…";
  return request.sources ? "Reading the sources…" : "Looking for passages…";
}

function facts({ event, phase, id }) {
  if (phase !== "answered") return "";
  const { prompt_tokens: read, completion_tokens: written } = event.usage;
  const cut = event.finish_reason === "length" ? "cut at the longest allowed answer" : null;
  const made = written ? [event.model, `${read} tokens read`, `${written} written`] : [];
  return [...made, cut, `request ${id}`].filter(Boolean).join(" · ");
}

function citation(number, numbers) {
  if (!numbers.has(number)) return `[${number}]`;
  const link = document.createElement("a");
  link.className = "cite";
  link.href = `#source-${number}`;
  link.textContent = String(number);
  link.setAttribute("aria-label", `Source ${number}`);
  return link;
}

function card({ number, passage }) {
  const item = $("source-card").content.firstElementChild.cloneNode(true);
  const part = (selector) => item.querySelector(selector);
  item.id = `source-${number}`;
  part(".number").textContent = String(number);
  part("h4").textContent = passage.title || passage.document_id;
  part(".passage").textContent = passage.text;
  part(".origin").textContent = passage.source;
  part(".score").title = "Cosine similarity to the question";
  part(".score-value").textContent = passage.score.toFixed(2);
  part(".score-bar span").style.width = `${100 * Math.min(Math.max(passage.score, 0), 1)}%`;
  return item;
}

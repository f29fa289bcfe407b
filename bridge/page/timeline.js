// The way of a request through the stages: a line of stages, and a chart of their times when it is opened.

import { el, icon, say, seconds } from "./dom.js";
import { STAGES } from "./request.js";

const WORDS = { pending: "waits", running: "at work", done: "done", failed: "failed", skipped: "not reached" };

export class TimelineView {
  constructor() {
    this.rows = new Map(STAGES.map((stage) => [stage, row(stage)]));
    this.total = el("span", { class: "total" });
    this.chart = el("ol", { class: "chart" }, ...[...this.rows.values()].map(({ line }) => line));
    this.note = el("p", { class: "chart-note" });
    const chips = el("span", { class: "stages" }, ...[...this.rows.values()].map(({ chip }) => chip));
    this.element = el(
      "details",
      { class: "timeline" },
      el("summary", {}, el("span", { class: "timeline-name" }, "Timeline"), chips, this.total, icon("next")),
      this.chart,
      this.note,
    );
  }

  // Cheap enough to run many times a second while stages run.
  render(request) {
    const known = request.stages.size > 0;
    const running = request.running;
    const began = known ? request.beganMs : 0;
    const end = !known ? 0 : running ? Math.max(request.now(), running.started_ms) : request.lastFinishedMs;
    say(this.total, known ? seconds(end - began) : "");
    for (const [stage, parts] of this.rows) {
      const timing = request.stages.get(stage) ?? (running?.stage === stage ? { ...running, finished_ms: end } : null);
      renderStage(
        parts,
        timing,
        stateOf(stage, request, running),
        began,
        Math.max(end - began, 1),
        stage === "generation" ? request.firstMs : null,
      );
    }
    say(this.note, known ? note(request, began) : "Times appear as soon as the first stage has done its part.");
  }
}

function row(stage) {
  const chipTime = el("span", { class: "stage-time" });
  const state = el("span", { class: "unseen" });
  const chip = el(
    "span",
    { class: "stage" },
    el("span", { class: "stage-dot", "aria-hidden": "true" }),
    stage,
    " ",
    chipTime,
    state,
    el("span", { class: "unseen" }, ", "),
  );
  const bar = el("span", { class: "bar" });
  const wait = el("span", { class: "bar-wait" });
  bar.append(wait);
  const lineTime = el("span", { class: "stage-time" });
  const line = el(
    "li",
    { class: "line" },
    el("span", {}, stage),
    el("span", { class: "track", "aria-hidden": "true" }, bar),
    lineTime,
  );
  return { chip, chipTime, state, line, bar, wait, lineTime };
}

function renderStage({ chip, chipTime, state, line, bar, wait, lineTime }, timing, name, began, whole, firstMs) {
  if (chip.dataset.state !== name) {
    chip.dataset.state = line.dataset.state = name;
    state.textContent = ` ${WORDS[name]}`;
  }
  const took = timing ? timing.finished_ms - timing.started_ms : 0;
  const attempts = timing?.attempt > 1 ? `, attempt ${timing.attempt}` : "";
  say(chipTime, timing ? seconds(took) : "");
  lineTime.textContent = timing ? seconds(took) + attempts : "–";
  if (!timing) return;
  bar.style.left = `${(100 * (timing.started_ms - began)) / whole}%`;
  bar.style.width = `${(100 * took) / whole}%`;
  const waited = firstMs ? Math.min(Math.max(firstMs - timing.started_ms, 0), took) : 0;
  wait.style.width = took ? `${(100 * waited) / took}%` : "0";
}

function note(request, began) {
  const first =
    request.firstMs && request.firstMs >= began ? `First words after ${seconds(request.firstMs - began)}. ` : "";
  return `${first}Between the stages a request waits in Kafka. Request ${request.id}`;
}

export function stateOf(stage, request, running) {
  if (request.problem?.stage === stage) return "failed";
  if (request.stages.has(stage)) return "done";
  if (running?.stage === stage) return "running";
  return request.ended ? "skipped" : "pending";
}

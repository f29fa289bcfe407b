// What the page says while there is no answer: what goes on, what is slow, what went wrong, and what to do.

import { el, icon } from "./dom.js";

const SLOW_MS = 10_000;

const PROBLEMS = {
  unavailable: [
    "The pipeline cannot be reached",
    "Ask again in a moment; your question is answered once, even if it did arrive. “ragline status” shows what is down.",
  ],
  unknown_request: ["This answer is no longer kept", "Answers are kept for a while only. Ask again."],
  expired: [
    "The answer came too late",
    "Ask again. After a start, or with a long queue, the first answer takes a while.",
  ],
  too_many_requests: ["Too many questions at once", "Wait until one of the answers is there, then ask again."],
  rate_limited: ["Too many questions in a minute", "Wait a moment, then ask again."],
  overloaded: ["The pipeline has more questions than it takes", "Wait a moment, then ask again."],
  forbidden: ["This key may not ask questions", "Use another key: the key button is at the foot of the side."],
  invalid_message: ["The question cannot be asked like this", "Change it and ask again."],
  question_too_long: ["The question is too long", "Shorten it and ask again."],
};

export function waiting(request, connected) {
  if (request.ended) return "";
  const { phase, stopping, text, sources } = request;
  if (!connected) {
    return phase === "sending"
      ? "Not connected. The question is sent as soon as the page is connected again."
      : "The connection is lost. The answer is being made all the same, and goes on here once the page is connected again.";
  }
  if (stopping) return "Stopping…";
  if (text) return "";
  if (phase === "sending") return "Sending the question…";
  return sources
    ? `Reading ${sources.length} ${sources.length === 1 ? "passage" : "passages"}…`
    : "Looking for passages…";
}

export function slowness(request, connected) {
  if (request.ended || request.text || !connected || !request.stages.size) return "";
  const waited = request.now() - (request.running?.started_ms ?? request.lastFinishedMs);
  if (waited < SLOW_MS) return "";
  const stage = request.running?.stage ?? "generation";
  const cause =
    stage === "query"
      ? "No worker has taken up the question yet: “ragline status” shows whether they run."
      : "The first answer after a start, or a long queue, takes a while.";
  return `Still in ${stage}. ${cause} Nothing is lost: you may wait, stop it, or close the page and come back.`;
}

// Elements for a request without an answer, or with one that needs a word.
export function problemBox({ phase, problem, facts, text }, on) {
  const button = (name, label, act, style = "button") =>
    el("button", { type: "button", class: style, onclick: act }, name && icon(name), label);
  if (phase === "failed") {
    const [title, advice] = PROBLEMS[problem.code] ?? ["There is no answer", "Ask again, or in other words."];
    const actions = el(
      "div",
      { class: "box-actions" },
      button("again", "Ask again", on.retry),
      button(null, "Change the question", on.edit, "quiet-button"),
    );
    return [
      el(
        "div",
        { class: "box bad" },
        el("p", { class: "box-title" }, title),
        el("p", {}, problem.message),
        el("p", { class: "advice" }, advice),
        actions,
      ),
    ];
  }
  if (phase === "stopped")
    return [
      el(
        "p",
        { class: "stopped" },
        text ? "You stopped this answer here." : "You stopped this before there was an answer.",
      ),
    ];
  if (facts?.finish_reason === "length")
    return [el("p", { class: "stopped" }, "The answer ends here because it reached the longest length allowed.")];
  if (facts?.finish_reason === "nothing_found") {
    const actions = el(
      "div",
      { class: "box-actions" },
      button("attach", "Add documents", on.upload),
      button(null, "Change the question", on.edit, "quiet-button"),
    );
    return [
      el(
        "div",
        { class: "box" },
        el("p", { class: "advice" }, "Ask in other words, or add documents that hold the answer."),
        actions,
      ),
    ];
  }
  return [];
}

// Puts together what the person does, what the bridge says, and what the page shows.

import { Connection } from "./connection.js";
import { newRequestId, Request } from "./request.js";
import { View } from "./view.js";

const KEPT = "ragline.request";
const $ = (id) => document.getElementById(id);

const view = new View();
let request = restored();
let connected = false;
let drawing = false;
let ticking = 0;

if (request) view.begin(request);

const connection = new Connection(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/ws`, {
  open: catchUp,
  message: receive,
  state(state, seconds) {
    connected = state === "open";
    $("connection").dataset.state = state;
    $("connection-text").textContent =
      { connecting: "Connecting", open: "Connected" }[state] ?? `Not connected, next try in ${seconds} s`;
    draw();
  },
});

function ask(question, id = newRequestId()) {
  request = new Request(id, question);
  keep();
  view.begin(request);
  catchUp();
}

function catchUp() {
  const wanted = request?.wanted;
  if (wanted) connection.send(wanted);
  draw();
}

function receive(message) {
  if (!request || message.request_id !== request.id) return;
  const had = request.sources;
  request.take(message);
  if (!had && request.sources?.length) announce(`${request.sources.length} sources found`);
  if (request.ended) announce(request.phase === "answered" ? "The answer is complete" : "There is no answer");
  // What could not be answered is put back, to be asked in other words.
  if (request.phase === "failed" && !$("question").value) {
    $("question").value = request.question;
    fit();
  }
  draw();
}

// Many messages may come between two frames; the page is drawn once for all of them.
function draw() {
  if (!request || drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    view.render(request, connected);
    clearInterval(ticking);
    if (!request.ended) ticking = setInterval(() => view.renderTime(request), 100);
  });
}

function announce(text) {
  $("announce").textContent = text;
}

// The request survives a reload of this tab.
function keep() {
  sessionStorage.setItem(KEPT, JSON.stringify({ id: request.id, question: request.question }));
}

function restored() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
  if (!kept) return null;
  const found = new Request(kept.id, kept.question);
  found.phase = "running";
  return found;
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = $("question").value.trim();
  if (!question) return;
  $("question").value = "";
  fit();
  ask(question);
});

$("question").addEventListener("keydown", (event) => {
  // While an input method composes, Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});

function fit() {
  const field = $("question");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}
$("question").addEventListener("input", fit);

for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => ask(example.textContent));
}

// Whether a question that could not be sent has arrived is not known; with its old ID it is answered once.
$("retry").addEventListener("click", () =>
  ask(request.question, request.problem.code === "unavailable" ? request.id : undefined),
);

$("answer").addEventListener("click", (event) => {
  const link = event.target.closest(".cite");
  if (!link) return;
  event.preventDefault();
  const source = document.querySelector(link.getAttribute("href"));
  document.querySelector(".source.lit")?.classList.remove("lit");
  source.classList.add("lit");
  open(source, true);
  source.focus({ preventScroll: true });
  source.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
});

$("sources").addEventListener("click", (event) => {
  const more = event.target.closest(".more");
  if (more) open(more.closest(".source"), more.getAttribute("aria-expanded") === "false");
});

function open(source, whole) {
  const more = source.querySelector(".more");
  if (more.hidden) return;
  source.classList.toggle("whole", whole);
  more.setAttribute("aria-expanded", String(whole));
  more.textContent = whole ? "Show less" : "Show all";
}

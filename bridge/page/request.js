// One request as this page knows it: messages go in, what to show comes out. Touches neither the page nor the network.

export const STAGES = ["query", "embedding", "retrieval", "prompt", "generation"];
const ENDED = new Set(["answered", "stopped", "failed"]);
const PHASES = new Set(["sending", "running", ...ENDED]);

export class Request {
  phase = "sending"; // then running, then answered, stopped or failed
  foreign = false; // asked in another tab, which sends it
  stopping = false; // the person wants no more of it, and the end is not known yet
  last = "0"; // ID of the last entry seen: resuming goes on after it
  attempt = 0;
  sequence = 0;
  text = "";
  sources = null;
  stages = new Map();
  firstMs = null; // when the first piece of the answer was written
  facts = null; // model, usage and finish_reason of the answer
  problem = null;
  skew = 0; // the bridge's clock minus this one's, in milliseconds

  constructor(id, question, history = []) {
    this.id = id;
    this.question = question;
    this.history = history;
  }

  get ended() {
    return ENDED.has(this.phase);
  }

  // Something is still to come that the person waits for.
  get busy() {
    return !this.ended && !this.stopping;
  }

  take(message) {
    if (this.ended) return;
    if (message.id) this.last = message.id;
    if (message.kind === "error") this.#fail(message.code, message.message);
    else this.phase = "running";
    if (message.kind === "progress") this.#progress(message);
    else if (message.kind === "sources") this.sources = message.sources;
    else if (message.kind === "delta") this.#delta(message);
    else if (message.kind === "terminal") this.#end(message);
  }

  // The end as HTTP tells it, for a request whose live view is gone.
  takeSummary({ state, stages, sources, answer, finish_reason, model, usage, failure }) {
    for (const timing of stages) this.stages.set(timing.stage, timing);
    if (sources.length) this.sources = sources;
    this.text = answer || this.text;
    if (state === "answered") {
      this.sources = sources;
      this.#answered({ finish_reason, model, usage });
    } else if (state === "cancelled") this.phase = "stopped";
    else if (failure) this.#fail(failure.code, failure.message, failure.stage);
  }

  // Nobody knows what became of it.
  lose(message) {
    if (this.stopping) this.phase = "stopped";
    else if (!this.ended) this.#fail("unknown_request", message);
  }

  stop() {
    if (this.ended) return;
    this.stopping = true;
  }

  // What never left needs no cancelling.
  dropUnsent() {
    this.phase = "stopped";
  }

  // How to say to the bridge what is missing: nothing heard yet, ask (it is answered once); else the rest.
  get wanted() {
    if (this.ended) return null;
    if (this.phase !== "sending") return { kind: "resume", request_id: this.id, after: this.last };
    const history = this.history.length ? { history: this.history } : {};
    return { kind: "ask", id: this.id, question: this.question, ...history };
  }

  // When the stage that runs now began, and which one that is; null when none does.
  get running() {
    if (this.ended || !this.stages.size) return null;
    const done = STAGES.findLastIndex((stage) => this.stages.has(stage));
    if (done === STAGES.length - 1) return null;
    return { stage: STAGES[done + 1], started_ms: this.lastFinishedMs };
  }

  get beganMs() {
    return Math.min(...[...this.stages.values()].map((timing) => timing.started_ms));
  }

  get lastFinishedMs() {
    return Math.max(...[...this.stages.values()].map((timing) => timing.finished_ms));
  }

  now() {
    return Date.now() + this.skew;
  }

  #progress({ stage, started_ms, finished_ms, attempt }) {
    this.stages.set(stage, { stage, started_ms, finished_ms, attempt });
    // No message arrives before it was written, so the clocks differ by at least this much.
    this.skew = Math.max(this.skew, finished_ms - Date.now());
  }

  #delta({ id, attempt, sequence, text }) {
    if (attempt < this.attempt || (attempt === this.attempt && sequence < this.sequence)) return;
    if (attempt > this.attempt && !this.stopping) {
      this.text = "";
      this.firstMs = parseInt(id, 10) || null;
    }
    this.attempt = attempt;
    this.sequence = sequence + 1;
    // What comes after the person stopped it is not shown.
    if (!this.stopping) this.text += text;
  }

  #end({ type, event, timeline }) {
    for (const timing of timeline) this.stages.set(timing.stage, timing);
    if (type === "ragline.answered.v1") {
      this.text = event.answer;
      this.sources = event.sources;
      this.#answered(event);
    } else if (type === "ragline.request.cancelled.v1") this.phase = "stopped";
    else if (type === "ragline.request.expired.v1") {
      this.#fail("expired", `The deadline passed during ${event.stage}.`, event.stage);
    } else this.#fail(event.code, event.message, event.stage);
  }

  #answered({ finish_reason, model, usage }) {
    this.phase = "answered";
    this.facts = { finish_reason, model, usage };
  }

  #fail(code, message, stage = null) {
    this.phase = "failed";
    this.problem = { code, message, stage };
  }

  // What this browser keeps. Of a request that goes on, the bridge knows the rest.
  toJSON() {
    const { id, question, history, phase } = this;
    if (!this.ended) return { id, question, history, phase, stopping: this.stopping };
    const { text, sources, firstMs, facts, problem } = this;
    return { id, question, phase, text, sources, firstMs, facts, problem, stages: [...this.stages.values()] };
  }

  static fromJSON(kept) {
    const request = new Request(
      String(kept.id),
      String(kept.question),
      Array.isArray(kept.history) ? kept.history : [],
    );
    if (!PHASES.has(kept.phase) || typeof (kept.text ?? "") !== "string") throw new TypeError("not a request");
    const {
      phase,
      text = "",
      sources = null,
      firstMs = null,
      facts = null,
      problem = null,
      stages = [],
      stopping = false,
    } = kept;
    Object.assign(request, { phase, text, sources, firstMs, facts, problem, stopping });
    for (const timing of stages) request.stages.set(timing.stage, timing);
    return request;
  }
}

// UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, version, variant, and random bits.
export function newId(now = Date.now()) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let place = 0; place < 6; place++) bytes[place] = Math.floor(now / 2 ** (8 * (5 - place))) % 256;
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

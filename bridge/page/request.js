// One request as this page knows it: messages go in, what to show comes out. Touches neither the page nor the network.

export const STAGES = ["query", "embedding", "retrieval", "prompt", "generation"];

export class Request {
  phase = "sending"; // then running, then answered or failed
  last = "0"; // ID of the last entry seen: resuming goes on after it
  attempt = 0;
  sequence = 0;
  text = "";
  sources = null;
  stages = new Map();
  event = null;
  problem = null;
  skew = 0; // the bridge's clock minus this one's, in milliseconds

  constructor(id, question) {
    this.id = id;
    this.question = question;
  }

  get ended() {
    return this.phase === "answered" || this.phase === "failed";
  }

  take(message) {
    if (this.ended) return;
    if (message.id) this.last = message.id;
    if (message.kind === "error") this.#fail(message.code, message.message);
    else {
      this.phase = "running";
      this["on_" + message.kind]?.(message);
    }
  }

  // How to say to the bridge what is missing: nothing seen yet, ask (it is answered once); else the rest.
  get wanted() {
    if (this.ended) return null;
    return this.phase === "sending"
      ? { kind: "ask", id: this.id, question: this.question }
      : { kind: "resume", request_id: this.id, after: this.last };
  }

  // When the stage that runs now began, and which one that is; null when none does.
  get running() {
    if (this.ended || !this.stages.size) return null;
    const done = STAGES.findLastIndex((stage) => this.stages.has(stage));
    if (done === STAGES.length - 1) return null;
    const begun = Math.max(...[...this.stages.values()].map((timing) => timing.finished_ms));
    return { stage: STAGES[done + 1], started_ms: begun };
  }

  now() {
    return Date.now() + this.skew;
  }

  on_progress({ stage, started_ms, finished_ms }) {
    this.stages.set(stage, { started_ms, finished_ms });
    // No message arrives before it was written, so the clocks differ by at least this much.
    this.skew = Math.max(this.skew, finished_ms - Date.now());
  }

  on_sources({ sources }) {
    this.sources = sources;
  }

  on_delta({ attempt, sequence, text }) {
    if (attempt < this.attempt || (attempt === this.attempt && sequence < this.sequence)) return;
    if (attempt > this.attempt) this.text = "";
    this.attempt = attempt;
    this.sequence = sequence + 1;
    this.text += text;
  }

  on_terminal({ type, event, timeline }) {
    for (const timing of timeline) this.stages.set(timing.stage, timing);
    this.event = event;
    if (type === "ragline.answered.v1") {
      this.phase = "answered";
      this.text = event.answer;
      this.sources = event.sources;
    } else if (type === "ragline.request.expired.v1") {
      this.#fail("expired", `The deadline passed during ${event.stage}. Ask again, or allow more time.`, event.stage);
    } else if (type === "ragline.request.cancelled.v1") {
      this.#fail("cancelled", event.reason ?? "The request was cancelled.", event.stage);
    } else {
      this.#fail(event.code, event.message, event.stage);
    }
  }

  #fail(code, message, stage = null) {
    this.phase = "failed";
    this.problem = { code, message, stage };
  }
}

// UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, version, variant, and random bits.
export function newRequestId(now = Date.now()) {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  for (let place = 0; place < 6; place++) bytes[place] = Math.floor(now / 2 ** (8 * (5 - place))) % 256;
  bytes[6] = 0x70 | (bytes[6] & 0x0f);
  bytes[8] = 0x80 | (bytes[8] & 0x3f);
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

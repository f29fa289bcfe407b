// Keeps requests and the bridge together: asks, resumes, stops, and finds out what became of what was lost.

import { Connection } from "./connection.js";
import { call, socketAddress } from "./http.js";

const AGAIN_MS = 2000;
// What passes: a request that was accepted goes on all the same.
const PASSING = new Set(["unavailable", "overloaded", "rate_limited", "too_many_requests"]);
// Any question will do to learn whether the bridge lets this page in: no request has this name.
const NOBODYS = "v1/queries/-";

export class Follower {
  #requests = new Map();
  #timers = new Map();

  // on.changed(request), on.state(state, seconds), on.unauthorized(message)
  constructor(on) {
    this.on = on;
    this.connection = new Connection(socketAddress("v1/ws"), {
      open: () => this.#catchUp(),
      message: (message) => this.#take(message),
      refused: () => this.#askWhy(),
      awaits: () => this.#requests.size > 0,
      state: on.state,
    });
  }

  get connected() {
    return this.connection.state === "open";
  }

  follow(request) {
    if (request.ended || this.#requests.has(request.id) || (request.foreign && request.phase === "sending")) return;
    this.#requests.set(request.id, request);
    this.#want(request);
  }

  stop(request) {
    request.stop();
    if (request.phase === "sending" && !request.left) {
      request.dropUnsent();
      this.#done(request);
    } else this.connection.send({ kind: "cancel", request_id: request.id });
    this.on.changed(request);
  }

  forget(request) {
    this.#requests.delete(request.id);
  }

  #catchUp() {
    for (const request of this.#requests.values()) this.#want(request);
  }

  #want(request) {
    clearTimeout(this.#timers.get(request.id));
    this.#timers.delete(request.id);
    const wanted = request.wanted;
    if (!wanted || !this.#requests.has(request.id)) return;
    request.left = this.connection.send(wanted) || request.left;
    if (request.stopping) this.connection.send({ kind: "cancel", request_id: request.id });
  }

  #take(message) {
    const request = this.#requests.get(message.request_id);
    if (!request) return;
    if (message.kind === "error" && message.code === "unknown_request") this.#find(request);
    else if (message.kind === "error" && PASSING.has(message.code) && request.phase === "running")
      this.#later(request, message.retry_after_s);
    else request.take(message);
    if (request.ended) this.#done(request);
    this.on.changed(request);
  }

  #done(request) {
    this.#requests.delete(request.id);
  }

  #later(request, seconds = 0) {
    clearTimeout(this.#timers.get(request.id));
    this.#timers.set(
      request.id,
      setTimeout(() => this.#want(request), Math.max(AGAIN_MS, 1000 * (seconds ?? 0))),
    );
  }

  async #find(request) {
    const { status, body, message } = await call("GET", `v1/queries/${encodeURIComponent(request.id)}`);
    if (status === 200) request.takeSummary(body);
    else if (status === 404) request.lose(message);
    if (request.ended) this.#done(request);
    else this.#later(request);
    this.on.changed(request);
  }

  async #askWhy() {
    const { status, message } = await call("GET", NOBODYS);
    if (this.connected || (status !== 401 && status !== 403)) return;
    this.connection.lock();
    this.on.unauthorized(message);
  }
}

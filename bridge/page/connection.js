// One websocket, from open() on, that comes back by itself: with a wait that doubles, and at once when the network returns.

import { key } from "./key.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
// A connection that died without a word looks open. While something is awaited and nothing comes, it is made anew.
const SILENCE_MS = 30_000;
const BAD_KEY = 4401;
const IDLE = 4408;

export class Connection {
  #socket = null;
  #wait = FIRST_WAIT_MS;
  #timer = 0;
  #heard = 0;

  // on.open(), on.message(object), on.refused() and on.state(state, seconds until the next try), where the state is
  // connecting, open, lost, idle (opens when there is something to send) or locked (opens with another key).
  // on.awaits() says whether anything is to come.
  constructor(url, on) {
    this.url = url;
    this.on = on;
    this.state = "connecting";
    window.addEventListener("online", () => this.open());
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.state === "lost" && this.open(),
    );
    setInterval(() => this.#checkSilence(), 5000);
  }

  // Says whether the message left; what did not leave is for on.open to say again.
  send(message) {
    const open = this.#socket?.readyState === WebSocket.OPEN;
    if (open) this.#socket.send(JSON.stringify(message));
    else if (this.state === "idle") this.open();
    return open;
  }

  open() {
    if (this.#socket && this.#socket.readyState <= WebSocket.OPEN) return;
    clearTimeout(this.#timer);
    this.#tell("connecting");
    const protocols = key.value ? ["ragline.v1", `ragline.bearer.${key.value}`] : ["ragline.v1"];
    const socket = new WebSocket(this.url, protocols);
    this.#socket = socket;
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.#wait = FIRST_WAIT_MS;
      this.#heard = Date.now();
      this.#tell("open");
      this.on.open();
    };
    socket.onmessage = (event) => {
      this.#heard = Date.now();
      this.on.message(JSON.parse(event.data));
    };
    socket.onclose = (event) => this.#closed(event.code, opened);
  }

  // As somebody else: the key has changed.
  renew() {
    this.#forget();
    this.open();
  }

  // Closes the connection until open() is called: for want of a key.
  lock() {
    clearTimeout(this.#timer);
    this.#tell("locked");
    this.#forget();
  }

  #closed(code, opened) {
    if (code === IDLE) return this.#tell("idle");
    const wait = this.#wait * (0.5 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    this.#timer = setTimeout(() => this.open(), wait);
    this.#tell("lost", Math.ceil(wait / 1000));
    // A browser does not say why a handshake was refused; plain HTTP does.
    if (!opened || code === BAD_KEY) this.on.refused();
  }

  #checkSilence() {
    if (this.state !== "open" || !this.on.awaits() || Date.now() - this.#heard < SILENCE_MS) return;
    this.renew();
  }

  #forget() {
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #tell(state, seconds = 0) {
    this.state = state;
    this.on.state(state, seconds);
  }
}

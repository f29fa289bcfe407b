// One websocket that comes back by itself: with a wait that doubles, and at once when the network returns.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;

export class Connection {
  #socket = null;
  #wait = FIRST_WAIT_MS;
  #timer = 0;

  // on.open(), on.message(object) and on.state("connecting" | "open" | "lost", seconds until the next try)
  constructor(url, on) {
    this.url = url;
    this.on = on;
    window.addEventListener("online", () => this.#open());
    this.#open();
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  // Says whether the message left; what did not leave is for on.open to say again.
  send(message) {
    if (this.isOpen) this.#socket.send(JSON.stringify(message));
    return this.isOpen;
  }

  #open() {
    if (this.#socket && this.#socket.readyState <= WebSocket.OPEN) return;
    clearTimeout(this.#timer);
    this.on.state("connecting");
    const socket = new WebSocket(this.url);
    this.#socket = socket;
    socket.onopen = () => {
      this.#wait = FIRST_WAIT_MS;
      this.on.state("open");
      this.on.open();
    };
    socket.onmessage = (event) => this.on.message(JSON.parse(event.data));
    socket.onclose = () => {
      const wait = this.#wait * (0.5 + Math.random() / 2);
      this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
      this.on.state("lost", Math.ceil(wait / 1000));
      this.#timer = setTimeout(() => this.#open(), wait);
    };
  }
}

// The conversations of this browser, each under a key of its own in local storage.

import { newId, Request } from "./request.js";
import { local } from "./storage.js";

const PREFIX = "ragline.conversation.";
const MOST = 100;
const LONGEST_TITLE = 80;
// What goes along with a question, so that it may refer to what was said: the latest first to stay.
const HISTORY_TURNS = 8;
const HISTORY_CHARACTERS = 12_000;

export class Conversation {
  requests = [];
  updated = Date.now();

  constructor(id = newId()) {
    this.id = id;
  }

  get title() {
    return this.requests[0]?.question.slice(0, LONGEST_TITLE) ?? "New conversation";
  }

  // What was said before, as chat messages.
  history(before = this.requests.length) {
    const messages = [];
    let room = HISTORY_CHARACTERS;
    for (const { phase, facts, question, text } of this.requests
      .slice(Math.max(0, before - HISTORY_TURNS), before)
      .reverse()) {
      if (phase !== "answered" || facts?.finish_reason === "nothing_found") continue;
      room -= question.length + text.length;
      if (room < 0) break;
      messages.unshift({ role: "user", content: question }, { role: "assistant", content: text });
    }
    return messages;
  }
}

export class Conversations {
  #open = new Map();

  // changed() is called when another tab has written; trouble(sentence) when nothing more can be kept.
  constructor({ changed, trouble }) {
    this.trouble = trouble;
    window.addEventListener("storage", ({ key }) => {
      if (key !== null && !key.startsWith(PREFIX)) return;
      for (const id of key === null ? this.#open.keys() : [key.slice(PREFIX.length)]) this.#readAgain(id);
      changed();
    });
  }

  // All that are kept, the latest first.
  list() {
    const kept = this.#keys()
      .map((key) => this.get(key.slice(PREFIX.length)))
      .filter(Boolean);
    return kept.sort((one, other) => other.updated - one.updated);
  }

  get(id) {
    const known = this.#open.get(id);
    if (known) return known;
    const found = read(id);
    if (found) this.#open.set(id, found);
    return found;
  }

  save(conversation) {
    this.#open.set(conversation.id, conversation);
    const { updated, requests } = conversation;
    const text = JSON.stringify({ updated, requests });
    for (const oldest of this.list().slice(MOST)) this.remove(oldest.id);
    // Where storage is full, the oldest conversations make room.
    for (const oldest of [...this.list().reverse(), null]) {
      try {
        local.setItem(PREFIX + conversation.id, text);
        return;
      } catch {
        if (!oldest) this.trouble("This browser keeps no more: conversations are lost when the page is closed.");
        else if (oldest.id !== conversation.id && oldest.requests.every((request) => request.ended))
          this.remove(oldest.id);
      }
    }
  }

  // Gives the conversation, which save() brings back.
  remove(id) {
    const conversation = this.get(id);
    this.#open.delete(id);
    local.removeItem(PREFIX + id);
    return conversation;
  }

  // What another tab has written. Requests that are known here stay: their end is the same in every tab.
  #readAgain(id) {
    const found = read(id);
    if (!found) {
      this.#open.delete(id);
      return;
    }
    const known = this.#open.get(id) ?? new Conversation(id);
    const mine = new Map(
      known.requests
        .filter((request) => !request.foreign || request.phase !== "sending")
        .map((request) => [request.id, request]),
    );
    const theirs = found.requests.filter((request) => !mine.has(request.id));
    for (const request of theirs) request.foreign = true;
    const unsaved = known.requests.filter(
      (request) => !request.ended && !request.foreign && found.requests.every(({ id: other }) => other !== request.id),
    );
    known.requests = [...found.requests.map((request) => mine.get(request.id) ?? request), ...unsaved];
    known.updated = found.updated;
    this.#open.set(id, known);
  }

  #keys() {
    return Object.keys(local).filter((key) => key.startsWith(PREFIX));
  }
}

// What cannot be read any more counts as not there.
function read(id) {
  try {
    const { updated, requests } = JSON.parse(local.getItem(PREFIX + id));
    const conversation = new Conversation(id);
    conversation.updated = Number(updated) || 0;
    conversation.requests = requests.map(Request.fromJSON);
    return conversation;
  } catch {
    return null;
  }
}

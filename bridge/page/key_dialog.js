// Asks for the API key when the bridge does.

import { $ } from "./dom.js";
import { key, looksLikeKey } from "./key.js";

export class KeyDialog {
  // changed() is called with another key, or none.
  constructor(changed) {
    this.changed = changed;
    this.dialog = $("key");
    $("change-key").addEventListener("click", () => this.ask(""));
    $("key-form").addEventListener("submit", (event) => this.#submit(event));
    $("key-forget").addEventListener("click", () => {
      key.value = "";
      this.#done();
    });
    this.render();
  }

  render() {
    $("change-key").hidden = !key.value;
  }

  ask(problem) {
    $("key-title").textContent = key.value ? "The API key" : "This bridge asks for a key";
    $("key-problem").textContent = problem;
    $("key-forget").hidden = !key.value;
    if (this.dialog.open) return;
    $("key-field").value = "";
    this.dialog.showModal();
  }

  #submit(event) {
    event.preventDefault();
    const text = $("key-field").value.trim();
    if (!looksLikeKey(text)) {
      $("key-problem").textContent = "That is no key: keys have no spaces and no brackets.";
      return;
    }
    key.value = text;
    this.#done();
  }

  #done() {
    this.dialog.close();
    this.render();
    $("question").focus();
    this.changed();
  }
}

// Where questions are typed, stopped, and documents are dropped.

import { $ } from "./dom.js";

export class Composer {
  // on.ask(text) says whether it was taken; on.stop(); on.files(list)
  constructor(on) {
    const field = $("question");
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (!text || !on.ask(text)) return;
      this.text = "";
    });
    field.addEventListener("keydown", (event) => {
      // While an input method composes, Enter belongs to it.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      $("ask").requestSubmit();
    });
    field.addEventListener("input", () => this.fit());
    $("stop").addEventListener("click", () => on.stop());
    this.#takeFiles(on);
  }

  get text() {
    return $("question").value;
  }

  set text(text) {
    $("question").value = text;
    this.fit();
  }

  fit() {
    const field = $("question");
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight}px`;
    $("send").classList.toggle("ready", field.value.trim() !== "");
  }

  focus() {
    $("question").focus();
  }

  // Whether there is something to stop.
  busy(busy) {
    if ($("stop").hidden === !busy) return;
    const focused = document.activeElement === $("stop") || document.activeElement === $("send");
    $("stop").hidden = !busy;
    $("send").hidden = busy;
    if (focused) this.focus();
  }

  chooseFiles() {
    $("files").click();
  }

  #takeFiles(on) {
    const chooser = $("files");
    for (const id of ["upload", "side-upload", "empty-upload"]) $(id).addEventListener("click", () => chooser.click());
    chooser.addEventListener("change", () => {
      on.files([...chooser.files]);
      chooser.value = "";
    });
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    let inside = 0;
    const show = (change) => {
      inside = Math.max(0, inside + change);
      $("drop").hidden = inside === 0;
    };
    window.addEventListener("dragenter", (event) => carriesFiles(event) && show(1));
    window.addEventListener("dragleave", (event) => carriesFiles(event) && show(-1));
    window.addEventListener("dragover", (event) => carriesFiles(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      inside = 0;
      show(0);
      on.files([...event.dataTransfer.files]);
    });
  }
}

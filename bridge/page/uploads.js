// Documents that were added from this browser: sent with progress, then watched until they are searchable.

import { address, call, problemOf } from "./http.js";
import { key } from "./key.js";
import { newId } from "./request.js";
import { local } from "./storage.js";

const KEPT = "ragline.documents";
const AT_ONCE = 2;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;
const MOST = 200;

// waiting, sending, reading (on its way through the ingest stages), searchable or failed
export class Uploads {
  #sending = 0;

  // changed(upload) after every change, unauthorized(sentence) when the bridge asks for another key
  constructor({ changed, unauthorized }) {
    this.changed = changed;
    this.unauthorized = unauthorized;
    this.all = restored();
    for (const upload of this.all) if (upload.state === "reading") this.#watch(upload);
    // What is half sent would be lost.
    window.addEventListener(
      "beforeunload",
      (event) => this.all.some(({ state }) => state === "sending" || state === "waiting") && event.preventDefault(),
    );
  }

  add(files) {
    for (const file of files)
      this.all.unshift({
        key: newId(),
        file,
        name: file.name,
        size: file.size,
        state: "waiting",
        sent: 0,
        message: "",
        shown: true,
      });
    this.#next();
  }

  retry(upload) {
    upload.state = "waiting";
    upload.message = "";
    this.#next();
  }

  // Takes the document out of what is searched. Gives a sentence when that failed.
  async remove(upload) {
    upload.request?.abort();
    if (upload.id) {
      const { status, message } = await call("DELETE", pathOf(upload));
      if (status === 401) this.unauthorized(message);
      if (message && status !== 404) return message;
    }
    upload.removed = true;
    this.all = this.all.filter((other) => other !== upload);
    this.#tell(upload);
    return "";
  }

  #next() {
    while (this.#sending < AT_ONCE) {
      const upload = this.all.findLast(({ state }) => state === "waiting");
      if (!upload) break;
      this.#send(upload);
    }
    this.changed();
  }

  // XMLHttpRequest, for fetch says nothing of how much was sent.
  #send(upload) {
    this.#sending++;
    upload.state = "sending";
    const request = (upload.request = new XMLHttpRequest());
    request.open("POST", address("v1/documents"));
    for (const [name, value] of Object.entries(key.headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => {
      upload.sent = total ? loaded / total : 0;
      this.changed(upload);
    };
    request.onloadend = () => {
      this.#sending--;
      upload.request = null;
      this.#sent(upload, request.status, parsed(request.responseText));
      this.#next();
    };
    const body = new FormData();
    body.append("file", upload.file, upload.name);
    request.send(body);
    this.changed(upload);
  }

  #sent(upload, status, body) {
    if (upload.removed) return;
    if (status === 401) this.unauthorized(problemOf(body, status));
    if (status >= 200 && status < 300) {
      upload.id = body.document_id;
      // The same name again is the same document, made anew.
      for (const older of this.all.filter(({ id }) => id === upload.id)) older.removed = older !== upload;
      this.all = this.all.filter((other) => !other.removed);
      upload.state = "reading";
      this.#watch(upload);
    } else {
      upload.state = "failed";
      upload.message = problemOf(body, status);
    }
    this.#tell(upload);
  }

  async #watch(upload) {
    for (
      let wait = FIRST_WAIT_MS;
      upload.state === "reading" && !upload.removed;
      wait = Math.min(wait * 1.5, LONGEST_WAIT_MS)
    ) {
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (upload.removed) return;
      const { status, body, message } = await call("GET", pathOf(upload));
      if (status === 200) this.#read(upload, body);
      else if (status === 404) Object.assign(upload, { state: "failed", message });
      // Anything else passes: the document is in Kafka.
      else upload.message = status === 401 ? message : "";
      if (status === 401) this.unauthorized(message);
      this.#tell(upload);
    }
  }

  #read(upload, { status, chunks, failure }) {
    if (status === "searchable")
      Object.assign(upload, {
        state: "searchable",
        message: chunks ? `${chunks} ${chunks === 1 ? "passage" : "passages"}` : "",
      });
    else if (status === "failed") Object.assign(upload, { state: "failed", message: failure?.message ?? "" });
  }

  #tell(upload) {
    const kept = this.all.filter(({ id }) => id).slice(0, MOST);
    try {
      local.setItem(
        KEPT,
        JSON.stringify(
          kept.map(({ key, id, name, size, state, message }) => ({ key, id, name, size, state, message })),
        ),
      );
    } catch {
      // Storage is full: the list ends with the page, the documents do not.
    }
    this.changed(upload);
  }
}

// The ID is a path of its own.
const pathOf = ({ id }) => `v1/documents/${id.split("/").map(encodeURIComponent).join("/")}`;

function restored() {
  try {
    return JSON.parse(local.getItem(KEPT) ?? "[]").map((kept) => ({
      ...kept,
      sent: 1,
      shown: kept.state === "reading",
    }));
  } catch {
    return [];
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

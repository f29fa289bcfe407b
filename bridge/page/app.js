// Puts together what the person does, what the bridge says, and what the page shows.

import { announce } from "./announce.js";
import { Composer } from "./composer.js";
import { Conversation, Conversations } from "./conversations.js";
import { $, drawIcons } from "./dom.js";
import { Follower } from "./follower.js";
import { key } from "./key.js";
import { KeyDialog } from "./key_dialog.js";
import { PassagePanel } from "./passage.js";
import { newId, Request } from "./request.js";
import { Side } from "./side.js";
import { startTheme } from "./theme_button.js";
import { Thread } from "./thread.js";
import { toast } from "./toast.js";
import { UploadList } from "./upload_list.js";
import { Uploads } from "./uploads.js";

drawIcons(document);
startTheme();

const conversations = new Conversations({ changed: () => show(location.hash.slice(1)), trouble: toast });
const side = new Side({ remove: removeConversation });
const panel = new PassagePanel();
const composer = new Composer({ ask, stop, files: (files) => uploads.add(files) });
const keyDialog = new KeyDialog(() => follower.connection.renew());
let current = new Conversation();
let wasLost = false;
// Which conversation a request belongs to.
const owners = new WeakMap();
const keptState = new WeakMap();

const thread = new Thread({
  retry,
  edit(request) {
    composer.text = request.question;
    composer.focus();
  },
  upload: () => composer.chooseFiles(),
  passage: (request, number, texts, opener) => panel.open(request.sources, number, texts, opener),
});

const follower = new Follower({ changed, state: showConnection, unauthorized });

const uploadList = new UploadList({
  async remove(upload) {
    const { name, id } = upload;
    const problem = await uploads.remove(upload);
    toast(problem || (id ? `${name} is no longer searched.` : `${name} was not added.`));
  },
  retry: (upload) => uploads.retry(upload),
});
const uploads = new Uploads({ changed: () => uploadList.render(uploads.all), unauthorized });
uploadList.render(uploads.all);

// --- conversations -----------------------------------------------------------------------------------------

function show(id) {
  const found = id ? conversations.get(id) : new Conversation();
  // An address may name what was deleted, or a place on the page.
  if (!found) return id === current.id ? show("") : undefined;
  if (found !== current || !found.requests.length) panel.close();
  current = found;
  for (const request of current.requests) {
    owners.set(request, current);
    if (!keptState.has(request)) keptState.set(request, stateOf(request));
    follower.follow(request);
  }
  $("empty").hidden = current.requests.length > 0;
  $("top-title").textContent = current.title;
  document.title = current.requests.length ? `${current.title} – ragline` : "ragline";
  thread.show(current, follower.connected);
  composer.busy(current.requests.some((request) => request.busy));
  side.renderConversations(conversations.list(), current.id);
}

function go(id) {
  if (location.hash.slice(1) === id) show(id);
  else location.hash = id;
}

function begin() {
  side.open(false);
  history.pushState(null, "", location.pathname + location.search);
  show("");
  composer.focus();
}

function removeConversation(id) {
  const removed = conversations.remove(id);
  if (id === current.id) begin();
  else side.renderConversations(conversations.list(), current.id);
  toast("The conversation is deleted.", "Undo", () => {
    conversations.save(removed);
    go(id);
  });
}

// --- requests ----------------------------------------------------------------------------------------------

function ask(question) {
  if (current.requests.some((request) => request.busy)) {
    toast("Wait for the answer, or stop it, before you ask again.");
    return false;
  }
  for (const upload of uploads.all) if (upload.state === "searchable") uploadList.hide(upload);
  const request = new Request(newId(), question, current.history());
  current.requests.push(request);
  follow(request);
  if (location.hash.slice(1) !== current.id) history.pushState(null, "", `#${current.id}`);
  show(current.id);
  thread.toEnd();
  return true;
}

// Whether a question that could not be sent has arrived is not known; with its old ID it is answered once.
function retry(old) {
  const place = current.requests.indexOf(old);
  const id = old.problem?.code === "unavailable" ? old.id : newId();
  const request = new Request(id, old.question, current.history(place));
  current.requests[place] = request;
  if (composer.text === old.question) composer.text = "";
  follower.forget(old);
  follow(request);
  show(current.id);
  composer.focus();
}

function follow(request) {
  owners.set(request, current);
  current.updated = Date.now();
  conversations.save(current);
  follower.follow(request);
}

function stop() {
  for (const request of current.requests) if (request.busy) follower.stop(request);
}

const stateOf = (request) => `${request.phase} ${request.stopping}`;

function changed(request) {
  const conversation = owners.get(request);
  const state = stateOf(request);
  // One that was deleted, or asked again, is not kept.
  if (
    state !== keptState.get(request) &&
    conversation.requests.includes(request) &&
    conversations.get(conversation.id)
  ) {
    keptState.set(request, state);
    conversations.save(conversation);
    side.renderConversations(conversations.list(), current.id);
  }
  if (conversation !== current) return;
  composer.busy(current.requests.some((one) => one.busy));
  // What could not be answered is put back, to be asked in other words.
  if (request.phase === "failed" && request.ended && !composer.text && request.problem.code !== "unavailable")
    composer.text = request.question;
  thread.draw(follower.connected);
}

// --- the bridge --------------------------------------------------------------------------------------------

function showConnection(state, wait) {
  const lost = state === "lost" || (state === "connecting" && wasLost);
  if (state === "lost" && !wasLost) announce("The connection is lost.");
  if (state === "open" && wasLost) announce("Connected again.");
  wasLost = lost;
  document.documentElement.dataset.connection = state;
  $("connection").hidden = !lost && state !== "locked";
  const words = { lost: `No connection to the bridge. Next try in ${wait} s.`, locked: "The bridge asks for a key." };
  $("connection-text").textContent = words[state] ?? "Connecting to the bridge…";
  $("reconnect").textContent = state === "locked" ? "Enter a key" : "Try now";
  thread.draw(state === "open");
}

// problem: what is wrong with the key that there is.
function unauthorized(problem) {
  keyDialog.ask(key.value ? problem : "");
}

$("reconnect").addEventListener("click", () =>
  follower.connection.state === "locked" ? keyDialog.ask("") : follower.connection.open(),
);
$("new").addEventListener("click", begin);
$("top-new").addEventListener("click", begin);
$("skip").addEventListener("click", (event) => {
  event.preventDefault();
  composer.focus();
});
for (const example of document.querySelectorAll(".example"))
  example.addEventListener("click", () => ask(example.textContent));
window.addEventListener("hashchange", () => show(location.hash.slice(1)));
window.addEventListener("popstate", () => show(location.hash.slice(1)));

show(location.hash.slice(1));
if (!current.requests.length) show("");
follower.connection.open();
composer.focus();
composer.fit();

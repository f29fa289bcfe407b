// The conversations and documents beside the thread; on narrow screens over it.

import { $, el, icon } from "./dom.js";

const WIDE = window.matchMedia("(min-width: 900px)");

export class Side {
  // on.remove(id)
  constructor(on) {
    this.on = on;
    $("menu").addEventListener("click", () => this.open(true));
    $("veil").addEventListener("click", () => this.open(false));
    $("side").addEventListener("keydown", (event) => event.key === "Escape" && this.open(false));
    WIDE.addEventListener("change", () => this.open(false));
    this.open(false);
  }

  open(wanted) {
    const side = $("side");
    const over = wanted && !WIDE.matches;
    const hadFocus = side.contains(document.activeElement);
    side.classList.toggle("over", over);
    // What is out of sight is out of the way of the keyboard, too.
    side.inert = !over && !WIDE.matches;
    $("main").inert = document.querySelector(".top").inert = over;
    $("veil").hidden = !over;
    $("menu").setAttribute("aria-expanded", String(over));
    if (over) $("new").focus();
    else if (hadFocus && !WIDE.matches) $("menu").focus();
  }

  renderConversations(list, currentId) {
    $("no-conversations").hidden = list.length > 0;
    const focused = $("conversations").contains(document.activeElement) ? document.activeElement.dataset.id : null;
    $("conversations").replaceChildren(
      ...list.map((conversation) => this.#conversation(conversation, conversation.id === currentId)),
    );
    if (focused) ($("conversations").querySelector(`[data-id="${CSS.escape(focused)}"]`) ?? $("new")).focus();
  }

  #conversation({ id, title, requests }, current) {
    const busy = requests.some((request) => request.busy);
    const link = el(
      "a",
      { href: `#${id}`, "data-id": id, "aria-current": current ? "page" : null, onclick: () => this.open(false) },
      busy ? el("span", { class: "busy", role: "img", "aria-label": "Being answered" }) : null,
      el("span", { class: "side-name" }, title),
    );
    const remove = el(
      "button",
      {
        type: "button",
        class: "icon-button",
        "data-id": id,
        "aria-label": `Delete the conversation “${title}”`,
        onclick: () => this.on.remove(id),
      },
      icon("remove"),
    );
    return el("li", {}, link, remove);
  }
}

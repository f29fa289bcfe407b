// Tells those who listen instead of looking. Additions to a log are read once, in order.

const KEPT = 20;

export function announce(text) {
  const log = document.getElementById("announcements");
  const line = document.createElement("p");
  line.textContent = text;
  log.append(line);
  while (log.children.length > KEPT) log.firstElementChild.remove();
}

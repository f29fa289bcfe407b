// Markdown inside a line, into nodes. What models and documents write is hostile: no markup is read but what is named
// here, links go to http and https only, nothing is loaded, and the time taken grows with the length of the text alone.

import { el } from "./dom.js";

const TOKEN = new RegExp(
  [
    /\\[!-/:-@[-`{-~]/, // an escaped mark
    /`+/,
    /\*+|_+|~~/,
    /\[\d{1,3}(?: ?, ?\d{1,3}){0,19}\](?!\()/, // citations
    /!?\[|\]/,
    /<https?:\/\/[^\s<>]{1,2000}>/,
    /https?:\/\/[^\s<>"`*\]|]{1,2000}/,
    /<br ?\/?>/,
    /&(?:amp|lt|gt|quot|nbsp|#39);/,
    /(?: {2,3}|\\)?\n/,
  ]
    .map((part) => part.source)
    .join("|"),
  "gi",
);
const DESTINATION =
  /\( {0,3}(?:<([^<>\n]{0,2000})>|([^\s()<>]{0,2000}(?:\([^\s()<>]{0,200}\)[^\s()<>]{0,2000}){0,5}))(?:\s{1,3}"[^"\n]{0,500}")? {0,3}\)/y;
const CHARACTERS = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&nbsp;": "\u00a0", "&#39;": "'" };
const DEEPEST = 12;

// The address if a link may go there, else null. Names and passwords in it would only mislead.
export function safeAddress(text) {
  let address;
  try {
    address = new URL(text);
  } catch {
    return null;
  }
  const plain =
    (address.protocol === "https:" || address.protocol === "http:") && !address.username && !address.password;
  return plain && /^https?:\/\//i.test(text) ? address : null;
}

// A link that opens elsewhere and tells nobody where it was clicked.
export const link = (address, ...words) =>
  el("a", { href: address.href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...words);

// Nodes for a text. cite(number) gives the node of a citation, or null where there is no such source.
export function inline(text, cite = () => null) {
  const pieces = split(text);
  pair(pieces);
  return build(pieces, cite);
}

// --- first pass: the text as pieces, links found -----------------------------------------------------------

function split(text) {
  const pieces = [];
  const brackets = [];
  const closing = codeEnds(text);
  let at = 0;
  const plain = (until) => until > at && pieces.push({ text: text.slice(at, until) });
  TOKEN.lastIndex = 0;
  for (let found; (found = TOKEN.exec(text));) {
    const token = found[0];
    plain(found.index);
    at = found.index + token.length;
    const first = token[0];
    if (first === "`") at = code(text, found.index, token, closing, pieces);
    else if (first === "*" || first === "_" || first === "~") pieces.push(mark(text, found.index, token));
    else if (token === "[" || token === "![") brackets.push(pieces.push({ text: token, image: first === "!" }) - 1);
    else if (first === "[") pieces.push({ text: token, numbers: token.match(/\d+/g).map(Number) });
    else if (token === "]") at = endLink(text, at, brackets, pieces);
    else if (token.endsWith("\n")) pieces.push(token.length > 1 ? { lineBreak: true } : { text: "\n" });
    else if (first === "\\") pieces.push({ text: token.slice(1) });
    else if (first === "&") pieces.push({ text: CHARACTERS[token.toLowerCase()] });
    else if (/^<br/i.test(token)) pieces.push({ lineBreak: true });
    else if (first === "<")
      pieces.push({ text: token, address: safeAddress(token.slice(1, -1)), words: token.slice(1, -1) });
    else at = bareAddress(token, found.index, pieces);
    TOKEN.lastIndex = at;
  }
  plain(text.length);
  return pieces;
}

// Where runs of backticks begin, by their length: whether a code span ends is known without looking ahead.
function codeEnds(text) {
  const ends = new Map();
  for (const run of text.matchAll(/`+/g)) {
    const places = ends.get(run[0].length) ?? ends.set(run[0].length, { starts: [], next: 0 }).get(run[0].length);
    places.starts.push(run.index);
  }
  return ends;
}

function code(text, start, run, closing, pieces) {
  const places = closing.get(run.length);
  const inside = start + run.length;
  while (places && places.starts[places.next] < inside) places.next++;
  const end = places?.starts[places.next];
  if (end === undefined) {
    pieces.push({ text: run });
    return inside;
  }
  const content = text.slice(inside, end).replaceAll("\n", " ");
  const padded = content.length > 2 && content.startsWith(" ") && content.endsWith(" ") && content.trim();
  pieces.push({ code: padded ? content.slice(1, -1) : content });
  return end + run.length;
}

function mark(text, start, run) {
  const before = text[start - 1] ?? " ";
  const after = text[start + run.length] ?? " ";
  // Within a word, an underscore is a letter.
  const inWord = run[0] === "_" && /[\p{L}\p{N}]/u.test(before) && /[\p{L}\p{N}]/u.test(after);
  const opens = !inWord && !/\s/.test(after) && !(run[0] === "_" && /[\p{L}\p{N}]/u.test(before));
  const closes = !inWord && !/\s/.test(before) && !(run[0] === "_" && /[\p{L}\p{N}]/u.test(after));
  return { mark: run[0], count: run.length, opens, closes, open: [], close: [] };
}

function endLink(text, at, brackets, pieces) {
  const place = brackets.pop();
  DESTINATION.lastIndex = at;
  const found = place === undefined || text[at] !== "(" ? null : DESTINATION.exec(text);
  const address = found && safeAddress(found[1] ?? found[2]);
  if (!address) {
    pieces.push({ text: "]" });
    return at;
  }
  pieces[place] = { linkTo: address, image: pieces[place].image };
  pieces.push({ linkEnd: true });
  // A link holds no other link: what was open around it is text.
  brackets.length = 0;
  return at + found[0].length;
}

function bareAddress(token, start, pieces) {
  let words = token;
  while (/[.,;:!?'"_~]$/.test(words) || (words.endsWith(")") && !words.includes("("))) words = words.slice(0, -1);
  pieces.push({ text: words, address: safeAddress(words), words });
  return start + words.length;
}

// --- second pass: which mark of emphasis belongs to which ---------------------------------------------------

function pair(pieces) {
  let open = { "*": [], _: [], "~": [] };
  const around = [];
  pieces.forEach((piece, place) => {
    if (piece.linkTo) {
      around.push(open);
      open = { "*": [], _: [], "~": [] };
    } else if (piece.linkEnd) open = around.pop();
    else if (piece.mark) match(piece, place, pieces, open);
  });
}

function match(piece, place, pieces, open) {
  const before = open[piece.mark];
  while (piece.closes && piece.count && before.length) {
    const opener = pieces[before.at(-1)];
    const both = piece.count >= 2 && opener.count >= 2;
    const tag = piece.mark === "~" ? "del" : both ? "strong" : "em";
    const used = tag === "em" ? 1 : 2;
    // The pair found last lies around those found before.
    opener.open.unshift(tag);
    piece.close.push(tag);
    opener.count -= used;
    piece.count -= used;
    // Marks opened between the two are text now: elements do not overlap.
    for (const places of Object.values(open))
      while (places.length && places.at(-1) > before.at(-1) && places !== before) places.pop();
    if (!opener.count) before.pop();
  }
  if (piece.opens && piece.count) before.push(place);
}

// --- third pass: nodes --------------------------------------------------------------------------------------

function build(pieces, cite) {
  const root = document.createDocumentFragment();
  const stack = [root];
  let linked = null;
  const top = () => stack.at(-1);
  // Deeper elements than anyone reads are left out, their text is not.
  const enter = (make) => stack.push(stack.length > DEEPEST ? top() : top().appendChild(make()));
  for (const piece of pieces) {
    if (piece.mark) {
      piece.close.forEach(() => stack.pop());
      if (piece.count) top().append(piece.mark.repeat(piece.count));
      for (const tag of piece.open) enter(() => document.createElement(tag));
    } else if (piece.linkTo) {
      linked = link(piece.linkTo, piece.image ? "Picture: " : "");
      enter(() => linked);
    } else if (piece.linkEnd) {
      stack.pop();
      showHost(linked);
      linked = null;
    } else if (piece.lineBreak) top().append(document.createElement("br"));
    else if (piece.code !== undefined) top().append(el("code", {}, piece.code));
    else if (piece.address && !linked) top().append(link(piece.address, piece.words));
    else if (piece.numbers && !linked) top().append(...citations(piece, cite));
    else top().append(piece.text);
  }
  return root;
}

// A link says where it leads, whatever its words say.
function showHost(anchor) {
  const { host } = new URL(anchor.href);
  const words = anchor.textContent;
  if (!words.trim()) anchor.append(host);
  else if (!words.toLowerCase().startsWith(anchor.href.toLowerCase()))
    anchor.after(el("span", { class: "host" }, ` (${host})`));
}

function citations(piece, cite) {
  const found = piece.numbers.map(cite);
  return found.every(Boolean) ? found : [piece.text];
}

// The Markdown that models write, shown as it comes. Only what changed since the last time is drawn again, so that a
// selection in the text above stays.

import { copyButton, el } from "./dom.js";
import { inline } from "./inline.js";

const DEEPEST = 6;
const FENCE = /^ {0,3}(`{3,}|~{3,}) *([^\s`]{0,40})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?=\s|$)/;
const RULE = /^ {0,3}(?:(?:\* *){3,}|(?:- *){3,}|(?:_ *){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( *)([-*+•]|\d{1,9}[.)])( +|$)/;
const DIVIDER = /^ *:?-+:? *$/;

export class MarkdownView {
  #shown = [];

  constructor(element, cite) {
    this.element = element;
    this.cite = cite;
  }

  // Gives the text of the blocks that are whole now and were not before: all but the last, or all at the end.
  update(text, ended, fresh = false) {
    const blocks = parse(text.replaceAll("\r\n", "\n").replaceAll("\t", "    ").split("\n"), 0);
    const before = fresh ? [] : this.#shown;
    let same = 0;
    while (same < blocks.length && same < before.length && blocks[same].raw === before[same]) same++;
    while (this.element.childNodes.length > same) this.element.lastChild.remove();
    this.element.append(...blocks.slice(same).map((block) => draw(block, this.cite)));
    this.#shown = blocks.map((block) => block.raw);
    return ended ? blocks.length : Math.max(blocks.length - 1, 0);
  }
}

// --- blocks: plain objects, each with its source as raw -----------------------------------------------------

function parse(lines, depth) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (!lines[at].trim()) {
      at++;
      continue;
    }
    const block =
      (depth < DEEPEST && (quote(lines, at, depth) ?? list(lines, at, depth))) ||
      fence(lines, at) ||
      heading(lines, at) ||
      table(lines, at) ||
      paragraph(lines, at);
    block.raw = lines.slice(at, block.end).join("\n");
    blocks.push(block);
    at = block.end;
  }
  return blocks;
}

function fence(lines, start) {
  const found = FENCE.exec(lines[start]);
  if (!found) return null;
  const [, mark, language] = found;
  const indent = lines[start].indexOf(mark);
  let end = start + 1;
  const closes = (line) => line.trim().length >= mark.length && line.trim() === mark[0].repeat(line.trim().length);
  while (end < lines.length && !closes(lines[end])) end++;
  return {
    kind: "code",
    language,
    text: lines
      .slice(start + 1, end)
      .map((line) => dedent(line, indent))
      .join("\n"),
    end: end + 1,
  };
}

function heading(lines, start) {
  const found = HEADING.exec(lines[start]);
  if (found) {
    let text = lines[start].slice(found[0].length).trim();
    while (text.endsWith("#")) text = text.slice(0, -1);
    return { kind: "heading", level: found[1].length, text: text.trim(), end: start + 1 };
  }
  return RULE.test(lines[start]) ? { kind: "rule", end: start + 1 } : null;
}

function quote(lines, start, depth) {
  let end = start;
  while (end < lines.length && QUOTE.test(lines[end])) end++;
  if (end === start) return null;
  return {
    kind: "quote",
    blocks: parse(
      lines.slice(start, end).map((line) => line.replace(QUOTE, "")),
      depth + 1,
    ),
    end,
  };
}

function list(lines, start, depth) {
  const first = ITEM.exec(lines[start]);
  if (!first || RULE.test(lines[start])) return null;
  const indent = first[1].length;
  const ordered = /\d/.test(first[2]);
  const items = [];
  let end = start;
  for (; end < lines.length; end++) {
    const line = lines[end];
    const found = ITEM.exec(line);
    const inner = indentOf(line) >= indent + 2;
    if (!line.trim()) {
      const next = lines.findIndex((other, place) => place > end && other.trim());
      if (next < 0 || !belongs(lines[next], indent, ordered)) break;
      items.at(-1).push("");
      end = next - 1;
    } else if (
      found &&
      !inner &&
      found[1].length >= indent - 1 &&
      /\d/.test(found[2]) === ordered &&
      !RULE.test(line)
    ) {
      items.push([line.slice(found[0].length)]);
    } else if (inner) items.at(-1).push(dedent(line, indent + first[2].length + 1));
    else if (begins(line) || !lines[end - 1].trim()) break;
    else items.at(-1).push(line.trim());
  }
  return {
    kind: "list",
    ordered,
    first: parseInt(first[2], 10),
    items: items.map((item) => parse(item, depth + 1)),
    end,
  };
}

const belongs = (line, indent, ordered) => {
  const found = ITEM.exec(line);
  return (
    indentOf(line) >= indent + 2 ||
    (found && !RULE.test(line) && found[1].length >= indent - 1 && /\d/.test(found[2]) === ordered)
  );
};

function table(lines, start) {
  if (!lines[start].includes("|") || !lines[start + 1]?.includes("-")) return null;
  const dividers = cells(lines[start + 1]);
  const head = cells(lines[start]);
  if (dividers.length !== head.length || !dividers.every((cell) => DIVIDER.test(cell))) return null;
  let end = start + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end++;
  const sides = dividers.map((cell) =>
    cell.trim().endsWith(":") ? (cell.trim().startsWith(":") ? "middle" : "right") : null,
  );
  return { kind: "table", head, sides, rows: lines.slice(start + 2, end).map(cells), end };
}

function cells(line) {
  let row = line.trim();
  if (row.startsWith("|")) row = row.slice(1);
  if (row.endsWith("|") && !row.endsWith("\\|")) row = row.slice(0, -1);
  return row.split(/(?<!\\)\|/).map((cell) => cell.replaceAll("\\|", "|").trim());
}

function paragraph(lines, start) {
  let end = start + 1;
  while (end < lines.length && lines[end].trim() && !begins(lines[end]) && !table(lines, end)) end++;
  return {
    kind: "paragraph",
    text: lines
      .slice(start, end)
      .map((line) => line.trimStart())
      .join("\n")
      .trimEnd(),
    end,
  };
}

const begins = (line) =>
  FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
const indentOf = (line) => line.length - line.trimStart().length;
const dedent = (line, by) => line.slice(Math.min(indentOf(line), by));

// --- blocks into nodes --------------------------------------------------------------------------------------

function draw(block, cite) {
  switch (block.kind) {
    case "code":
      return drawCode(block);
    case "heading":
      // Below the heading that the question is.
      return el(`h${Math.min(block.level + 2, 6)}`, {}, inline(block.text, cite));
    case "rule":
      return el("hr");
    case "quote":
      return el("blockquote", {}, ...block.blocks.map((inner) => draw(inner, cite)));
    case "list":
      return el(
        block.ordered ? "ol" : "ul",
        block.ordered && block.first !== 1 ? { start: block.first } : {},
        ...block.items.map((item) => drawItem(item, cite)),
      );
    case "table":
      return drawTable(block, cite);
    default:
      return el("p", {}, inline(block.text, cite));
  }
}

function drawItem([first, ...rest], cite) {
  if (first?.kind !== "paragraph")
    return el("li", {}, ...[first, ...rest].filter(Boolean).map((inner) => draw(inner, cite)));
  const text = first.text.replace(/^\[ \] /, "☐ ").replace(/^\[[xX]\] /, "☑ ");
  return el("li", {}, inline(text, cite), ...rest.map((inner) => draw(inner, cite)));
}

function drawCode({ language, text }) {
  const head = el(
    "div",
    { class: "code-head" },
    el("span", {}, language || "code"),
    copyButton("Copy", () => text),
  );
  // What scrolls sideways must be reachable by keyboard.
  return el(
    "div",
    { class: "code" },
    head,
    el("pre", { tabindex: 0, role: "region", "aria-label": "Code" }, el("code", {}, text)),
  );
}

function drawTable({ head, sides, rows }, cite) {
  const row = (tag, texts) =>
    el("tr", {}, ...head.map((_, place) => el(tag, { class: sides[place] }, inline(texts[place] ?? "", cite))));
  const body = el("tbody", {}, ...rows.map((texts) => row("td", texts)));
  return el(
    "div",
    { class: "table", tabindex: 0, role: "region", "aria-label": "Table" },
    el("table", {}, el("thead", {}, row("th", head)), body),
  );
}

import { inline } from "./inline.js";

/**
 * Reads the Markdown that models write: paragraphs, headings, lists, quotes, tables, code, emphasis and links. Makes a
 * tree and no HTML. Everything that it does not know stays text.
 */

/** @typedef {import("./inline.js").Span} Span */
/** @typedef {{depth: number, number: number|null, spans: Span[]}} Item number: null for a bullet */

/**
 * @typedef {{kind: "paragraph"|"quote", spans: Span[]}
 *   | {kind: "heading", level: number, spans: Span[]}
 *   | {kind: "list", items: Item[]}
 *   | {kind: "code", language: string, text: string, at: number}
 *   | {kind: "table", align: Align[], head: Span[][]|null, rows: Span[][][]}
 *   | {kind: "rule"}} Block
 */

/** @typedef {"left"|"center"|"right"|""} Align */

/**
 * The block that was open when a text was cut for its length.
 * @typedef {{fence: string, language: string}|{align: Align[]}|null} Open
 */

/** @typedef {{from: number, text: string, whole: boolean}} Line whole: nothing can be added to it */

// Characters of a block or line: a longer one is cut, so that a piece that arrives costs no more than this.
export const MOST_BLOCK = 4000;
// Levels of a list, and columns of a table
const MOST_DEPTH = 4;
const MOST_COLUMNS = 24;

const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(\S.*)$/;
const RULE = /^ {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$/;
// A year at the beginning of a line numbers nothing.
const ITEM = /^([ \t]{0,12})([-*+•]|\d{1,3}[.)])[ \t]+(?=\S)/;
const QUOTE = /^ {0,3}> ?/;
const UNDER_HEAD = /^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

/** Reads a text that grows: only its last block is read again. */
export class Markdown {
  /** @type {Block[]} all of the text */
  blocks = [];

  #text = "";
  // Where the last block begins that lines which are whole make, and how many blocks stand before it
  #from = 0;
  #settled = 0;
  /** @type {Open} */
  #open = null;

  /** @param {string} text all of it so far @returns {number} so many blocks are as they were */
  read(text) {
    if (!text.startsWith(this.#text)) [this.blocks, this.#from, this.#settled, this.#open] = [[], 0, 0, null];
    this.#text = text;
    const kept = this.#settled;
    const lines = linesOf(text, this.#from);
    // A line that is not whole may become anything.
    const last = lines.at(-1);
    const found = blocksOf(lines, this.#open);
    const sure = last?.whole === false ? blocksOf(lines.slice(0, -1), this.#open) : found;
    this.blocks = [...this.blocks.slice(0, kept), ...found.map(({ block }) => block)];
    const restart = sure.at(-1);
    if (restart) [this.#from, this.#open, this.#settled] = [restart.from, restart.open, kept + sure.length - 1];
    return kept;
  }
}

/** The words of a text without the marks. @param {string} text */
export function plain(text) {
  const reader = new Markdown();
  reader.read(text);
  return reader.blocks.map(plainBlock).filter(Boolean).join("\n");
}

/** @param {Block} block */
function plainBlock(block) {
  if (block.kind === "rule") return "";
  if (block.kind === "code") return block.text;
  if (block.kind === "list") {
    return block.items
      .map(({ depth, number, spans }) => {
        const mark = number === null ? "•" : `${number}.`;
        return `${"  ".repeat(depth)}${mark} ${wordsOf(spans)}`;
      })
      .join("\n");
  }
  if (block.kind !== "table") return wordsOf(block.spans);
  return [...(block.head ? [block.head] : []), ...block.rows].map((cells) => cells.map(wordsOf).join("\t")).join("\n");
}

/** @param {Span[]} spans @returns {string} */
function wordsOf(spans) {
  return spans
    .map((span) => {
      if (span.kind === "text" || span.kind === "code") return span.text;
      const words = wordsOf(span.spans);
      return span.kind === "link" && words !== span.address ? `${words} (${span.address})` : words;
    })
    .join("");
}

/** @param {string} text @param {number} from @returns {Line[]} */
function linesOf(text, from) {
  const lines = [];
  while (from < text.length) {
    const end = text.indexOf("\n", from);
    const cut = (end < 0 ? text.length : end) - from > MOST_BLOCK;
    const to = cut ? from + MOST_BLOCK : end < 0 ? text.length : end;
    lines.push({ from, text: text.slice(from, to), whole: cut || end >= 0 });
    from = cut || end < 0 ? to : to + 1;
  }
  return lines;
}

/** @param {Line[]} lines @param {Open} open @returns {{block: Block, from: number, open: Open}[]} */
function blocksOf(lines, open) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!open && lines[at].text.trim() === "") {
      at += 1;
      continue;
    }
    const from = lines[at].from;
    const before = open;
    /** @type {{block: Block, next: number, open: Open}} */
    const made = open ? goOn(lines, at, open) : begin(lines, at);
    found.push({ block: made.block, from, open: before });
    [at, open] = [made.next, made.open];
  }
  return found;
}

/** @param {Line[]} lines @param {number} at @returns {{block: Block, next: number, open: Open}} */
function begin(lines, at) {
  const line = lines[at].text;
  const fence = FENCE.exec(line);
  if (fence) return code(lines, at, at + 1, fence[1], fence[2].trim().slice(0, 40));
  const heading = HEADING.exec(line);
  if (heading) {
    const words = heading[2].trimEnd().replace(/[ \t]#{1,6}$/, "");
    const spans = inline(words, lines[at].from + line.length - heading[2].length);
    return { block: { kind: "heading", level: heading[1].length, spans }, next: at + 1, open: null };
  }
  if (RULE.test(line)) return { block: { kind: "rule" }, next: at + 1, open: null };
  if (QUOTE.test(line)) return quote(lines, at);
  if (ITEM.test(line)) return list(lines, at);
  const align = tableAt(lines, at);
  if (align) return table(lines, at + 2, align, cellsOf(lines[at]));
  return paragraph(lines, at);
}

/** Go on with what was cut for its length. @param {Line[]} lines @param {number} at @param {NonNullable<Open>} open */
function goOn(lines, at, open) {
  return "fence" in open ? code(lines, at, at, open.fence, open.language) : table(lines, at, open.align, null);
}

/**
 * The number of lines from this one on that are in a block: those that are its own, while they fit.
 * @param {Line[]} lines
 * @param {number} at
 * @param {(line: string, next: number) => boolean} own
 */
function endOf(lines, at, own) {
  let next = at;
  const first = lines[at]?.from ?? 0;
  while (next < lines.length && own(lines[next].text, next)) {
    const { from, text } = lines[next];
    if (next > at && from + text.length - first > MOST_BLOCK) break;
    next += 1;
  }
  return next;
}

/**
 * @param {Line[]} lines
 * @param {number} at
 * @param {number} body its first line of code
 * @param {string} fence
 * @param {string} language
 * @returns {{block: Block, next: number, open: Open}}
 */
function code(lines, at, body, fence, language) {
  const closes = (/** @type {string} */ line) => {
    const words = line.trim();
    return words.length >= fence.length && words === fence[0].repeat(words.length);
  };
  const end = endOf(lines, body, (line) => !closes(line));
  const text = lines.slice(body, end).map((line) => line.text).join("\n");
  const block = /** @type {Block} */ ({ kind: "code", language, text, at: lines[body]?.from ?? lines[at].from });
  const closed = end < lines.length && closes(lines[end].text);
  return { block, next: closed ? end + 1 : end, open: closed || end >= lines.length ? null : { fence, language } };
}

/** @param {Line[]} lines @param {number} at @returns {{block: Block, next: number, open: Open}} */
function quote(lines, at) {
  const end = endOf(lines, at, (line) => QUOTE.test(line));
  const spans = lines.slice(at, end).flatMap(({ text, from }, index) => {
    const words = text.replace(QUOTE, "");
    const break_ = /** @type {Span[]} */ (index > 0 ? [{ kind: "text", text: "\n", at: -1 }] : []);
    return [...break_, ...inline(words, from + text.length - words.length)];
  });
  return { block: { kind: "quote", spans }, next: end, open: null };
}

/** @param {Line[]} lines @param {number} at @returns {{block: Block, next: number, open: Open}} */
function list(lines, at) {
  /** @type {Item[]} */
  const items = [];
  /** @type {number[]} */
  const indents = [];
  let blank = false;
  const own = (/** @type {string} */ line) => {
    if (line.trim() === "") return (blank = true);
    const goesOn = (ITEM.test(line) && !RULE.test(line)) || /^[ \t]{2,}\S/.test(line) || (!blank && !starts(line));
    blank = false;
    return goesOn;
  };
  let end = endOf(lines, at, own);
  while (end > at + 1 && lines[end - 1].text.trim() === "") end -= 1;
  for (const { text, from } of lines.slice(at, end)) {
    const item = ITEM.exec(text);
    if (!item) {
      const words = text.trim();
      const start = from + text.indexOf(words);
      if (words) items.at(-1)?.spans.push({ kind: "text", text: "\n", at: -1 }, ...inline(words, start));
      continue;
    }
    const indent = item[1].replaceAll("\t", "    ").length;
    while (indents.length > 0 && indent <= indents[indents.length - 1]) indents.pop();
    indents.push(indent);
    const number = /\d/.test(item[2]) ? Number.parseInt(item[2], 10) : null;
    const words = text.slice(item[0].length);
    items.push({
      depth: Math.min(indents.length, MOST_DEPTH) - 1,
      number,
      spans: inline(words, from + item[0].length),
    });
  }
  return { block: { kind: "list", items }, next: end, open: null };
}

/** @param {Line[]} lines @param {number} at @returns {{block: Block, next: number, open: Open}} */
function paragraph(lines, at) {
  const end = endOf(
    lines,
    at,
    (line, next) => next === at || (line.trim() !== "" && !starts(line) && !tableAt(lines, next)),
  );
  const text = lines.slice(at, end).map((line) => line.text).join("\n");
  return { block: { kind: "paragraph", spans: inline(text, lines[at].from) }, next: end, open: null };
}

/**
 * True for a line that begins another block than a paragraph, also without a blank line before.
 * @param {string} line
 */
function starts(line) {
  const item = ITEM.exec(line);
  const numbered = item !== null && /\d/.test(item[2]) && Number.parseInt(item[2], 10) !== 1;
  return (item !== null && !numbered) || FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line);
}

/** @param {Line[]} lines @param {number} at @returns {Align[]|null} of the table whose first line this is */
function tableAt(lines, at) {
  const under = lines[at + 1];
  if (!under?.whole || !lines[at].text.includes("|") || !under.text.includes("-") || !UNDER_HEAD.test(under.text))
    return null;
  const marks = cellsOf(under).map(({ text }) => text);
  if (marks.length !== cellsOf(lines[at]).length || marks.length > MOST_COLUMNS) return null;
  return marks.map((mark) =>
    mark.endsWith(":") ? (mark.startsWith(":") ? "center" : "right") : mark.startsWith(":") ? "left" : "",
  );
}

/**
 * @param {Line[]} lines
 * @param {number} at its first row
 * @param {Align[]} align
 * @param {ReturnType<typeof cellsOf>|null} head
 * @returns {{block: Block, next: number, open: Open}}
 */
function table(lines, at, align, head) {
  const own = (/** @type {string} */ line) => line.includes("|") && line.trim() !== "";
  const end = endOf(lines, at, own);
  const cells = (/** @type {ReturnType<typeof cellsOf>} */ row) =>
    align.map((_, index) => (row[index] ? inline(row[index].text, row[index].at) : []));
  const rows = lines.slice(at, end).map((line) => cells(cellsOf(line)));
  const more = end < lines.length && own(lines[end].text);
  return { block: { kind: "table", align, head: head && cells(head), rows }, next: end, open: more ? { align } : null };
}

/** @param {Line} line @returns {{text: string, at: number}[]} */
function cellsOf({ text, from }) {
  const cells = [];
  let begin = 0;
  for (let at = 0; at <= text.length; at += 1) {
    if (at < text.length && (text[at] !== "|" || text[at - 1] === "\\")) continue;
    const raw = text.slice(begin, at);
    const edge = (begin === 0 || at === text.length) && raw.trim() === "";
    if (!edge) cells.push({ text: raw.trim(), at: from + begin + raw.length - raw.trimStart().length });
    begin = at + 1;
  }
  return cells;
}

/**
 * A part of a line. `at`: position of its first character in the source; -1 for none.
 * @typedef {{kind: "text"|"code", text: string, at: number}
 *   | {kind: "strong"|"emphasis"|"struck", spans: Span[]}
 *   | {kind: "link", spans: Span[], address: string}} Span
 */

const LINK = /\[([^[\]\n]{1,300})\]\((https?:\/\/(?:[^\s()<>[\]"]|\([^\s()<>[\]"]{0,100}\)){1,500})\)/iy;
const BARE = /https?:\/\/[^\s<>"'`*[\]|]{1,500}/iy;
const BREAK = /<br ?\/?>/iy;
const WORD = /[\p{L}\p{N}]/u;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const MOST_ADDRESS = 500;

/**
 * The name of the machine to which an address leads; "" for one that must not be opened.
 * @param {string} address
 * @param {number} [most] characters
 */
export function hostOf(address, most = MOST_ADDRESS) {
  if (address.length > most || !URL.canParse(address)) return "";
  const { protocol, host, username, password } = new URL(address);
  return /^https?:$/.test(protocol) && !username && !password ? host : "";
}

/**
 * Read the marks inside a line. Each mark that opens is closed or given up once, so time is linear.
 * @param {string} text @param {number} from its position in the source @returns {Span[]}
 */
export function inline(text, from) {
  const ticks = tickRuns(text);
  /** @type {{mark: string, spans: Span[]}[]} those that are open, outermost first */
  const open = [{ mark: "", spans: [] }];
  let words = "";
  let start = 0;
  const put = (/** @type {Span} */ span) => open[open.length - 1].spans.push(span);
  const flush = (/** @type {number} */ next) => {
    if (words) put({ kind: "text", text: words, at: from + start });
    [words, start] = ["", next];
  };
  let at = 0;
  while (at < text.length) {
    const char = text[at];
    if (char === "\\" && PUNCTUATION.test(text[at + 1] ?? "")) {
      flush(at + 1);
      words = text[at + 1];
      at += 2;
      continue;
    }
    if (char === "`") {
      // A run whose first one is escaped is none.
      const { size, close } = ticks.get(at) ?? { size: 1, close: -1 };
      if (close >= 0) {
        flush(at);
        put({ kind: "code", text: text.slice(at + size, close), at: from + at + size });
        start = at = close + size;
      } else {
        words += text.slice(at, at + size);
        at += size;
      }
      continue;
    }
    const link = char === "[" ? match(LINK, text, at) : null;
    if (link && hostOf(link[2])) {
      flush(at);
      put({ kind: "link", spans: [{ kind: "text", text: link[1], at: from + at + 1 }], address: link[2] });
      start = at += link[0].length;
      continue;
    }
    const bare = (char === "h" || char === "H") && !WORD.test(text[at - 1] ?? "") ? match(BARE, text, at) : null;
    if (bare) {
      const address = trimAddress(bare[0]);
      if (hostOf(address)) {
        flush(at);
        put({ kind: "link", spans: [{ kind: "text", text: address, at: from + at }], address });
        start = at += address.length;
        continue;
      }
      words += bare[0];
      at += bare[0].length;
      continue;
    }
    const line = char === "<" ? match(BREAK, text, at) : null;
    if (line) {
      flush(at);
      put({ kind: "text", text: "\n", at: -1 });
      start = at += line[0].length;
      continue;
    }
    const mark = markAt(text, at, open[open.length - 1].mark);
    if (mark) {
      const wide = mark.length === 2;
      const [before, after] = [text[at - 1] ?? " ", text[at + mark.length] ?? " "];
      const opened = open.findLastIndex((one) => one.mark === mark);
      if (opened > 0 && !/\s/.test(before) && (wide || !WORD.test(after))) {
        flush(at + mark.length);
        // A mark that was opened inside and is not closed stays text.
        while (open.length - 1 > opened) giveUp(open);
        const { spans } = /** @type {{spans: Span[]}} */ (open.pop());
        if (spans.length > 0) put({ kind: mark === "~~" ? "struck" : wide ? "strong" : "emphasis", spans });
      } else if (opened < 0 && !/\s/.test(after) && (wide || !WORD.test(before))) {
        flush(at + mark.length);
        open.push({ mark, spans: [] });
      } else words += mark;
      at += mark.length;
      continue;
    }
    words += char;
    at += 1;
  }
  flush(at);
  while (open.length > 1) giveUp(open);
  return open[0].spans;
}

/** Make text of the innermost mark that nothing closes. @param {{mark: string, spans: Span[]}[]} open */
function giveUp(open) {
  const { mark, spans } = /** @type {{mark: string, spans: Span[]}} */ (open.pop());
  const first = spans[0];
  const at = first && "at" in first ? first.at - mark.length : -1;
  open[open.length - 1].spans.push({ kind: "text", text: mark, at }, ...spans);
}

/**
 * @param {string} text
 * @param {number} at
 * @param {string} innermost that is open
 * @returns {string} the mark of emphasis that stands there; "" for none
 */
function markAt(text, at, innermost) {
  const char = text[at];
  if (char !== "*" && char !== "_" && char !== "~") return "";
  // Of three the inner one closes first.
  const twice = text[at + 1] === char && !(text[at + 2] === char && innermost === char);
  return twice ? char + char : char === "~" ? "" : char;
}

/** Find the runs of backticks, and where each is closed by one of its length; -1: nowhere. @param {string} text */
function tickRuns(text) {
  /** @type {Map<number, {size: number, close: number}>} */
  const runs = new Map();
  /** @type {Map<number, number>} the next run of a length */
  const next = new Map();
  for (let end = text.lastIndexOf("`"); end >= 0; ) {
    let at = end;
    while (text[at - 1] === "`") at -= 1;
    const size = end - at + 1;
    runs.set(at, { size, close: next.get(size) ?? -1 });
    next.set(size, at);
    end = at > 0 ? text.lastIndexOf("`", at - 1) : -1;
  }
  return runs;
}

/** An address without what ends the sentence. @param {string} address */
function trimAddress(address) {
  let end = address.length;
  while (/[.,;:!?~]/.test(address[end - 1] ?? "") || (address[end - 1] === ")" && !address.includes("("))) end -= 1;
  return address.slice(0, end);
}

/** @param {RegExp} pattern a sticky one @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/**
 * Find the addresses in a text without marks.
 * @param {string} text
 * @param {number} [from] its place in the source
 * @returns {Span[]}
 */
export function linksIn(text, from = 0) {
  /** @type {Span[]} */
  const spans = [];
  let done = 0;
  for (const found of text.matchAll(/https?:\/\/[^\s<>"'`*[\]|]{1,500}/gi)) {
    const address = trimAddress(found[0]);
    // One that was cut leads elsewhere.
    if (!hostOf(address) || address.endsWith("…") || WORD.test(text[found.index - 1] ?? "")) continue;
    if (found.index > done) spans.push({ kind: "text", text: text.slice(done, found.index), at: from + done });
    spans.push({ kind: "link", spans: [{ kind: "text", text: address, at: from + found.index }], address });
    done = found.index + address.length;
  }
  if (done < text.length) spans.push({ kind: "text", text: text.slice(done), at: from + done });
  return spans;
}

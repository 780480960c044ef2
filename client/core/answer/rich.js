import { made } from "../page/dom.js";
import { hostOf, linksIn } from "./inline.js";
import { Markdown } from "./markdown.js";

/** @typedef {import("./inline.js").Span} Span */
/** @typedef {import("./markdown.js").Block} Block */

/** Shows texts with their marks, made of text nodes and elements. */
export class Rich {
  /** @type {WeakMap<Element, {text: string, reader: Markdown}>} what each element shows */
  #shown = new WeakMap();
  /** @type {WeakMap<Element, string>} the plain text with tabs that each shows; "" for another one */
  #columns = new WeakMap();
  /** @type {WeakMap<Node, number>} where the words of a text node stand in the source */
  #places = new WeakMap();
  #onLink;

  /** @param {(address: string, opener: HTMLElement) => void} onLink somebody tapped a link */
  constructor(onLink) {
    this.#onLink = onLink;
  }

  /**
   * Show a text that may grow; blocks that are complete are not touched again.
   * @param {HTMLElement} element
   * @param {string} text
   */
  fill(element, text) {
    let shown = this.#shown.get(element);
    // Somebody has put other words there.
    const own = element.firstChild instanceof Element && element.childNodes.length === shown?.reader.blocks.length;
    if (!own) shown = undefined;
    if (shown?.text === text) return;
    const reader = shown?.reader ?? new Markdown();
    const kept = shown ? reader.read(text) : (reader.read(text), 0);
    while (element.childNodes.length > kept) element.lastChild?.remove();
    element.append(...reader.blocks.slice(kept).map((block) => this.#block(block)));
    element.classList.add("rich");
    this.#shown.set(element, { text, reader });
  }

  /**
   * Show a text as it is, but with its addresses as links, and lines that have tabs as a table.
   * @param {HTMLElement} element @param {string} text
   */
  fillPlain(element, text) {
    const columns = text.includes("\t");
    if (columns ? this.#columns.get(element) === text : element.textContent === text) return;
    this.#shown.delete(element);
    this.#columns.set(element, columns ? text : "");
    element.classList.toggle("rich", columns);
    if (columns) element.replaceChildren(...inColumns(text).map((block) => this.#block(block)));
    else element.replaceChildren(...linksIn(text).map((span) => this.#span(span)));
  }

  /**
   * Find a part of the source in what is shown.
   * @param {Element} element
   * @param {number} start
   * @param {number} end
   * @returns {Range|null}
   */
  range(element, start, end) {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    const range = new Range();
    let begun = false;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const at = this.#places.get(node);
      const length = node.textContent?.length ?? 0;
      if (at === undefined || at >= end || at + length <= start) continue;
      if (!begun) range.setStart(node, Math.max(0, start - at));
      range.setEnd(node, Math.min(length, end - at));
      begun = true;
    }
    return begun ? range : null;
  }

  /** @param {Block} block @returns {HTMLElement} */
  #block(block) {
    if (block.kind === "rule") return document.createElement("hr");
    if (block.kind === "paragraph") return this.#with("p", block.spans);
    if (block.kind === "quote") return this.#with("blockquote", block.spans);
    // The page has two levels of its own.
    if (block.kind === "heading") return this.#with(`h${Math.min(6, block.level + 2)}`, block.spans);
    if (block.kind === "list") return this.#list(block);
    return block.kind === "code" ? this.#code(block) : this.#table(block);
  }

  /** @param {Block & {kind: "list"}} block */
  #list({ items }) {
    /** @type {HTMLElement[]} those that are open, outermost first */
    const open = [];
    for (const { depth, number, spans } of items) {
      const kind = number === null ? "ul" : "ol";
      while (open.length > depth + 1) open.pop();
      if (open.length === depth + 1 && depth > 0 && open[depth].localName !== kind) open.pop();
      while (open.length < depth + 1) {
        const inner = document.createElement(kind);
        (open.at(-1)?.lastElementChild ?? open.at(-1))?.append(inner);
        open.push(inner);
      }
      const item = this.#with("li", spans);
      if (item instanceof HTMLLIElement && number !== null) item.value = number;
      // A bullet among numbers stays what it is.
      item.classList.toggle("bullet", number === null && open[depth].localName === "ol");
      open[depth].append(item);
    }
    return open[0];
  }

  /** @param {Block & {kind: "code"}} block */
  #code({ text, at }) {
    // A keyboard scrolls it.
    return made("pre", { tabIndex: 0, dir: "ltr" }, made("code", {}, this.#text(text, at)));
  }

  /** @param {Block & {kind: "table"}} block */
  #table({ align, head, rows }) {
    const table = made("table");
    const row = (/** @type {Span[][]} */ cells, /** @type {string} */ tag) => {
      const found = cells.map((spans, index) => {
        const cell = this.#with(tag, spans);
        if (align[index]) cell.style.textAlign = align[index];
        return cell;
      });
      return made("tr", {}, ...found);
    };
    if (head) table.createTHead().append(row(head, "th"));
    table.createTBody().append(...rows.map((cells) => row(cells, "td")));
    return made("div", { className: "table", tabIndex: 0 }, table);
  }

  /** @param {string} tag @param {Span[]} spans */
  #with(tag, spans) {
    const element = document.createElement(tag);
    element.append(...spans.map((span) => this.#span(span)));
    return element;
  }

  /** @param {Span} span @returns {Node} */
  #span(span) {
    if (span.kind === "text") return this.#text(span.text, span.at);
    if (span.kind === "code") return made("code", {}, this.#text(span.text, span.at));
    if (span.kind === "link") return this.#link(span);
    return this.#with({ strong: "strong", emphasis: "em", struck: "s" }[span.kind], span.spans);
  }

  /** @param {Span & {kind: "link"}} span */
  #link({ spans, address }) {
    const link = this.#with("button", spans);
    if (!(link instanceof HTMLButtonElement)) throw new Error("A link is a button.");
    link.type = "button";
    link.className = "link";
    const host = hostOf(address);
    // Its words may name another place, and letters may pass for others.
    if (link.textContent !== address || !address.toLowerCase().includes(host)) {
      link.append(made("small", {}, ` (${host})`));
    }
    link.addEventListener("click", () => this.#onLink(address, link));
    return link;
  }

  /** @param {string} text @param {number} at */
  #text(text, at) {
    const node = document.createTextNode(text);
    if (at >= 0) this.#places.set(node, at);
    return node;
  }
}

/**
 * A plain text with tabs as paragraphs and tables; figures stand at the right.
 * @param {string} text
 * @returns {Block[]}
 */
function inColumns(text) {
  /** @type {{from: number, table: boolean, lines: string[]}[]} */
  const parts = [];
  let from = 0;
  for (const line of text.split("\n")) {
    const table = line.includes("\t");
    const last = parts.at(-1);
    if (last?.table === table) last.lines.push(line);
    else parts.push({ from, table, lines: [line] });
    from += line.length + 1;
  }
  return parts.map(({ from, table, lines }) => {
    if (!table) return { kind: "paragraph", spans: linksIn(lines.join("\n"), from) };
    const rows = lines.map((line) => {
      const cells = line.split("\t").map((cell) => {
        const spans = linksIn(cell, from);
        from += cell.length + 1;
        return spans;
      });
      return cells;
    });
    return { kind: "table", align: ["", "right"], head: null, rows };
  });
}

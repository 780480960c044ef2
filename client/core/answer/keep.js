import { clock, direction, language, moment, text } from "../words/text.js";
import { direction as placeOf } from "../page/picture.js";
import { Markdown } from "./markdown.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */
/** @typedef {import("./inline.js").Span} Span */
/** @typedef {import("./markdown.js").Block} Block */
/** @typedef {"markdown"|"html"|"json"} Format */

/**
 * A turn as it is kept: its words, and its picture as a JPEG data URL, "" without one. One of another program has that
 * one's name.
 * @typedef {{turn: Turn, picture: string, marked: boolean, program?: {name: string, at: number}}} Kept
 */

/** @type {Record<Format, {name: string, extension: string, type: string}>} */
export const FORMATS = {
  markdown: { name: "answer.markdown", extension: ".md", type: "text/markdown" },
  html: { name: "answer.html", extension: ".html", type: "text/html" },
  json: { name: "answer.json", extension: ".json", type: "application/json" },
};

// The file loads no resource and runs no script.
const POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const STYLE =
  "body{max-width:44rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif;" +
  "color:#1b2220;background:#fff;overflow-wrap:anywhere}" +
  "h2{margin:2.5rem 0 .5rem;font-size:1.1rem}img{display:block;max-width:100%;margin:.5rem 0;border-radius:8px}" +
  "pre{overflow:auto;padding:.5rem;background:#f2f2f0}table{border-collapse:collapse}" +
  "td,th{padding:.2rem .6rem;border:1px solid #ccc}" +
  ".text *{unicode-bidi:plaintext;text-align:start}" +
  ".text p{white-space:pre-wrap}.about{color:#58625e;font-size:.875rem}";
const PICTURE = /^data:image\/jpeg;base64,[A-Za-z0-9+/]+={0,2}$/;

/** @param {Format} format @param {Kept[]} kept @param {Date} now @returns {string} the whole file */
export function fileOf(format, kept, now) {
  if (format === "json") return json(kept, now);
  return format === "html" ? html(kept, now) : markdown(kept, now);
}

/** @param {Format} format @param {Date} now */
export function fileName(format, now) {
  const local = new Date(now.getTime() - 60_000 * now.getTimezoneOffset()).toISOString();
  return `qwen-camera-${local.slice(0, 16).replaceAll(":", "-")}${FORMATS[format].extension}`;
}

/** @param {Kept[]} kept @param {Date} now */
function markdown(kept, now) {
  const parts = kept.map(({ turn, marked, program }) => {
    const words =
      turn.earlier.length > 0
        ? moments(turn)
            .map(({ at, text }) => `- ${clock(at)} ${escapeMarks(text)}`)
            .join("\n")
        : marked
          ? rewritten(turn.text)
          : escapeMarks(turn.text);
    return [
      `## ${escapeMarks(turn.question)}`,
      words,
      turn.problem && `*${escapeMarks(turn.problem)}*`,
      `*${escapeMarks(about(turn, program))}*`,
    ]
      .filter(Boolean)
      .join("\n\n");
  });
  return `# ${titleOf(now)}\n\n${parts.join("\n\n")}\n`;
}

/** Take the meaning of marks from a text; an address in it is no link. @param {string} text */
function escapeMarks(text) {
  return text
    .replaceAll("\0", "")
    .replace(/[\\`*_{}[\]<>#+\-!|~&=$]|:(?=\/\/)|(?<=www)\./g, "\\$&")
    .replace(/^(\s*\d+)([.)])/gm, "$1\\$2")
    .replace(/\s*\n\s*/g, "  \n");
}

/**
 * A text with the marks that this page knows: pictures, links and HTML of others would load or do something in a
 * viewer.
 * @param {string} text
 */
function rewritten(text) {
  const reader = new Markdown();
  reader.read(text);
  return reader.blocks.map(rewrittenBlock).join("\n\n");
}

/** @param {Block} block @returns {string} */
function rewrittenBlock(block) {
  if (block.kind === "rule") return "***";
  if (block.kind === "code") return fence(block.text, "\n", 3);
  if (block.kind === "paragraph") return marks(block.spans);
  if (block.kind === "quote") return marks(block.spans).replace(/^/gm, "> ");
  if (block.kind === "heading") return `### ${marks(block.spans)}`;
  if (block.kind === "list") {
    return block.items
      .map(
        ({ depth, number, spans: words }) =>
          `${"    ".repeat(depth)}${number === null ? "-" : `${number}.`} ${marks(words)}`,
      )
      .join("\n");
  }
  const row = (/** @type {Span[][]} */ cells) =>
    `| ${cells.map((cell) => marks(cell).replace(/(?<!\\)\|/g, "\\|")).join(" | ")} |`;
  const head = block.head ?? block.align.map(() => []);
  return [row(head), `|${" --- |".repeat(head.length)}`, ...block.rows.map(row)].join("\n");
}

/** @param {Span[]} all @returns {string} */
function marks(all) {
  return all
    .map((span) => {
      if (span.kind === "text") return escapeMarks(span.text);
      if (span.kind === "code") return fence(span.text.replaceAll("\n", " "), " ", 1);
      if (span.kind === "link") return escapeMarks(plainLink(span));
      const mark = { strong: "**", emphasis: "*", struck: "~~" }[span.kind];
      return `${mark}${marks(span.spans)}${mark}`;
    })
    .join("");
}

/**
 * Code between backticks, of which it has no run as long.
 * @param {string} code
 * @param {string} gap
 * @param {number} least
 */
function fence(code, gap, least) {
  const longest = Math.max(0, ...[...code.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = "`".repeat(Math.max(least, longest + 1));
  const between = least > 1 || /^`|`$/.test(code) ? gap : "";
  return `${fence}${between}${code.replaceAll("\0", "")}${between}${fence}`;
}

/** @param {Kept[]} kept @param {Date} now */
function json(kept, now) {
  const turns = kept.map(({ turn, picture, program }) => ({
    kind: program ? "program" : turn.kind,
    asked_by: program?.name,
    asked_at: program?.at,
    question: turn.question,
    answer: turn.text,
    problem: turn.problem || undefined,
    thoughts: turn.thoughts || undefined,
    earlier: turn.earlier.length > 0 ? turn.earlier : undefined,
    engine: turn.response?.engine,
    model: turn.response?.model,
    frame: turn.frame ? { ...turn.frame, thumbnail: undefined, picture: undefined } : undefined,
    timings: turn.response?.timings,
    usage: turn.response?.usage,
    closer: turn.response?.closer ? { ...turn.response.closer, thumbnail: undefined, picture: undefined } : undefined,
    boxes: turn.response?.boxes,
    boxes_by: turn.response?.boxes_by,
    second_look: turn.response?.second_look,
    picture: picture || undefined,
  }));
  return `${JSON.stringify({ saved_at: now.toISOString(), turns }, null, 2)}\n`;
}

/** @param {Kept[]} kept @param {Date} now */
function html(kept, now) {
  const parts = kept.map(({ turn, picture, marked, program }) => {
    const image = PICTURE.test(picture) ? `<img src="${picture}" alt="${safe(text("page.model_saw"))}">` : "";
    const words =
      turn.earlier.length > 0
        ? `<ul>${moments(turn)
            .map(({ at, text }) => `<li>${safe(`${clock(at)} ${text}`)}</li>`)
            .join("")}</ul>`
        : marked
          ? blocks(turn.text)
          : `<p>${safe(turn.text)}</p>`;
    const problem = turn.problem ? `<p class="about" dir="auto">${safe(turn.problem)}</p>` : "";
    const said = `<div class="text" dir="auto">${words}</div>${problem}`;
    const below = `<p class="about">${safe(about(turn, program))}</p>`;
    return `<section><h2 dir="auto">${safe(turn.question)}</h2>${image}${said}${below}</section>`;
  });
  const title = titleOf(now);
  return (
    `<!doctype html>\n<html lang="${language()}" dir="${direction()}">\n<head>\n<meta charset="utf-8">\n` +
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">\n` +
    `<meta name="referrer" content="no-referrer">\n<meta name="viewport" content="width=device-width">\n` +
    `<title>${safe(title)}</title>\n<style>${STYLE}</style>\n</head>\n<body>\n<h1>${safe(title)}</h1>\n` +
    `${parts.join("\n")}\n</body>\n</html>\n`
  );
}

/** @param {string} text */
function blocks(text) {
  const reader = new Markdown();
  reader.read(text);
  return reader.blocks.map(block).join("\n");
}

/** @param {Block} block @returns {string} */
function block(block) {
  if (block.kind === "rule") return "<hr>";
  if (block.kind === "code") return `<pre><code>${safe(block.text)}</code></pre>`;
  if (block.kind === "paragraph") return `<p>${spans(block.spans)}</p>`;
  if (block.kind === "quote") return `<blockquote>${spans(block.spans)}</blockquote>`;
  if (block.kind === "heading") return `<h3>${spans(block.spans)}</h3>`;
  if (block.kind === "list") {
    // Depth by a margin: the list is one for the reader.
    const items = block.items.map(({ depth, number, spans: words }) => {
      const [style, before] = number === null ? ["disc", ""] : ["none", `${number}. `];
      return `<li style="margin-left:${1.5 * depth}em;list-style:${style}">${before}${spans(words)}</li>`;
    });
    return `<ul>${items.join("")}</ul>`;
  }
  const row = (/** @type {Span[][]} */ cells, /** @type {string} */ tag) =>
    `<tr>${cells.map((cell) => `<${tag}>${spans(cell)}</${tag}>`).join("")}</tr>`;
  const head = block.head ? row(block.head, "th") : "";
  return `<table>${head}${block.rows.map((cells) => row(cells, "td")).join("")}</table>`;
}

/** @param {Span[]} all @returns {string} */
function spans(all) {
  return all
    .map((span) => {
      if (span.kind === "text") return safe(span.text);
      if (span.kind === "code") return `<code>${safe(span.text)}</code>`;
      // A file cannot warn before a link opens, so links stay text.
      if (span.kind === "link") return safe(plainLink(span));
      const tag = { strong: "strong", emphasis: "em", struck: "s" }[span.kind];
      return `<${tag}>${spans(span.spans)}</${tag}>`;
    })
    .join("");
}

/** @param {Span & {kind: "link"}} link */
function plainLink({ spans: [words], address }) {
  const text = words && "text" in words ? words.text : "";
  return text === address ? address : `${text} (${address})`;
}

/** @param {string} text */
function safe(text) {
  return text.replace(/[&<>"'`\0]/g, (char) => (char === "\0" ? "" : `&#${char.charCodeAt(0)};`));
}

/**
 * Engine and time of an answer, and the part that its question points at.
 * @param {Turn} turn
 * @param {Kept["program"]} program
 */
function about({ response, frame }, program) {
  if (program) return `${program.name}, ${moment(program.at)}`;
  const parts = response
    ? [`${response.engine}, ${response.model}`, `${(response.timings.total_ms / 1000).toFixed(1)} s`]
    : [];
  if (frame) parts.unshift(moment(frame.captured_at));
  if (frame?.part) parts.push(text("page.thing_place", { thing: text("answer.part"), place: placeOf(frame.part) }));
  return parts.join(" · ");
}

/** All that a description said, oldest first. @param {Turn} turn */
function moments({ frame, text, earlier }) {
  return [{ at: frame?.captured_at ?? 0, text }, ...earlier].reverse();
}

/** @param {Date} now */
function titleOf(now) {
  return text("answer.conversation_of", { time: moment(now.getTime()) });
}

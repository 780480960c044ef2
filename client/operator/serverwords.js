/** The server's own sentences in the panel, in the page's language. Uses no DOM. */

import { direction, isolated, language, number } from "../words/text.js";

/** How one English sentence of the server is found, and its translation. @typedef {{found: RegExp, names: string[], words: string, rank: number}} Pattern */

// Asian sentences have no space between them.
const JOINED = ["ja", "zh"];
const SIZE = /\b(\d+(?:\.\d+)?) ([kMGT]?B)\b/g;

/** How the values of some names are shown; a port has no thousands. @type {Record<string, (given: string) => string>} */
const SHOWN = { parts: listed, port: isolated };

/** @type {Pattern[]} the most telling ones first */
let patterns = [];
/** What was looked for, and its words; null: not all of it is known. @type {Map<string, string|null>} */
const known = new Map();

/**
 * Use the words of a language from now on.
 * @param {Record<string, string>} table translations by the English sentence with {names}; empty: the server's English
 */
export function useServerWords(table) {
  known.clear();
  patterns = Object.entries(table).map(([english, words]) => pattern(english, words));
  patterns.sort((one, other) => other.rank - one.rank);
}

/** The server's sentences in the page's language; those without a translation stay English. @param {string} sentences */
export function said(sentences) {
  if (patterns.length === 0 || !sentences) return sentences;
  const whole = translated(sentences);
  // Its direction is found by its first letters, which may be a name's.
  const mark = direction() === "rtl" ? "\u200f" : "";
  if (whole !== null) return mark + whole;
  // As many of the first sentences as are known together, then the rest; else the first one stays.
  const ends = [...sentences.matchAll(/[.!?:] +(?=\S)/g)].map(({ index }) => index + 1);
  for (const end of [...ends].reverse()) {
    const first = translated(sentences.slice(0, end));
    if (first !== null) return joined(mark + first, said(sentences.slice(end).trimStart()));
  }
  if (ends.length === 0) return sentences;
  const rest = sentences.slice(ends[0]).trimStart();
  return sentences.slice(0, sentences.length - rest.length) + said(rest);
}

/** The language of what `said` returns, for screen readers. @param {string} sentences */
export function tongue(sentences) {
  return translated(sentences) === null ? "en" : language();
}

/** Why a request failed: the server's own sentence where all of it has a translation. @param {{message: string, sentence: string}} error */
export function failure({ message, sentence }) {
  return (sentence && translated(sentence)) || message;
}

/** @param {string} english @param {string} words @returns {Pattern} */
function pattern(english, words) {
  const names = [...english.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
  const escaped = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  // A value at the end goes on to the end of a sentence.
  const whole = escaped.replace(/\{\w+\}$/, "(.*?[.!?)](?= |$)|.*)").replace(/\{\w+\}/g, "(.*?)");
  const letters = english.replace(/\{\w+\}/g, "").length;
  return { found: new RegExp(`^${whole}(?=$| )`, "s"), names, words, rank: letters - (english.startsWith("{") ? 1000 : 0) };
}

/** Find the translation of all of it. @param {string} given @returns {string|null} null where a part is unknown */
function translated(given) {
  // A note went through the page's words, which keep a number and its unit in one line.
  const sentences = given.replaceAll("\u00a0", " ");
  const before = known.get(sentences);
  if (before !== undefined) return before;
  /** @type {string|null} */
  let result = null;
  for (const { found, names, words } of patterns) {
    const match = found.exec(sentences);
    if (!match?.[0]) continue;
    const rest = sentences.slice(match[0].length).trimStart();
    const after = rest ? translated(rest) : "";
    if (after === null) continue;
    const filled = words.replace(/\{(\w+)\}/g, (_, name) => (SHOWN[name] ?? value)(match[names.indexOf(name) + 1] ?? ""));
    result = joined(filled, after);
    break;
  }
  // The log's lines come and go.
  if (known.size > 2000) known.clear();
  known.set(sentences, result);
  return result;
}

/** @param {string} first @param {string} second */
function joined(first, second) {
  return [first, second].filter(Boolean).join(JOINED.includes(language()) ? "" : " ");
}

/** What stands in a sentence one after another, with semicolons and commas. @param {string} given @returns {string} */
function listed(given) {
  const marks = { ar: "؛ ", zh: "；", ja: "；" };
  const parts = given.split("; ").map((part) => part.split(", ").map(value).join(", "));
  return parts.join(marks[/** @type {keyof marks} */ (language())] ?? "; ");
}

/** A part of a sentence: a name, a number, or words of the server. @param {string} given @returns {string} */
function value(given) {
  if (!given) return "";
  // The space before it is no part of what runs in its own direction.
  if (given.startsWith(" ")) return ` ${value(given.trimStart())}`;
  const whole = translated(given);
  if (whole !== null) return whole;
  for (const between of ["; ", ", "]) {
    const parts = given.split(between);
    if (parts.length > 1 && parts.some((part) => translated(part) !== null)) return parts.map(value).join(between);
  }
  if (/^\d{1,3}(,\d{3})+$/.test(given)) return number(Number(given.replaceAll(",", "")));
  if (/^\d+(\.\d+)?$/.test(given)) return number(Number(given), given.split(".")[1]?.length ?? 0);
  const sized = given.replace(SIZE, (_, size, unit) => `${number(Number(size), size.split(".")[1]?.length ?? 0)}\u00a0${unit}`);
  return isolated(sized);
}

/** The page's words in the chosen language, by their ids. Uses no DOM. */

import { ENGLISH } from "../../languages/en.js";

/** @typedef {import("../../languages/en.js").Table} Table */

/** The languages of the page by their BCP 47 tags, each by its own name. @type {Record<string, string>} */
export const LANGUAGES = {
  en: "English",
  de: "Deutsch",
  es: "Español",
  fr: "Français",
  it: "Italiano",
  pt: "Português",
  nl: "Nederlands",
  pl: "Polski",
  tr: "Türkçe",
  uk: "Українська",
  ru: "Русский",
  ar: "العربية",
  hi: "हिन्दी",
  zh: "中文",
  ja: "日本語",
  ko: "한국어",
};

const RIGHT_TO_LEFT = new Set(["ar"]);
// Around a name in a sentence from right to left (Unicode's FSI, PDI)
const [ISOLATE, END_ISOLATE] = ["\u2068", "\u2069"];
// A sentence around isolated words finds their direction by the first mark outside of them.
const forward = () => (direction() === "rtl" ? "\u200f" : "");

/** Marks of languages that have their own. @type {Record<string, Record<string, string>>} */
const MARKS = {
  ar: { ", ": "، ", "; ": "؛ " },
  hi: { ".": "।" },
  ja: { ", ": "、", "; ": "；", ".": "。" },
  zh: { ", ": "，", "; ": "；", ".": "。" },
};

/** @type {Table} */
let table = ENGLISH;
let code = "en";
let locale = "en";
let rules = new Intl.PluralRules("en");
/** @type {Set<() => void>} */
const listeners = new Set();

/**
 * Use another language from now on, and tell those who show words.
 * @param {string} language a key of `LANGUAGES` @param {Table} words where one is missing it is English @param {string}
 *   [region] its tag with a region, for numbers and dates
 */
export function use(language, words, region = language) {
  [code, table] = [language, words];
  locale = language === "ar" ? `${region}-u-nu-latn` : region;
  rules = new Intl.PluralRules(locale);
  for (const tell of listeners) tell();
}

/** @returns {string} a key of `LANGUAGES` */
export function language() {
  return code;
}

/** @returns {"ltr"|"rtl"} */
export function direction() {
  return RIGHT_TO_LEFT.has(code) ? "rtl" : "ltr";
}

/** @param {() => void} tell called after each change of the language */
export function onLanguage(tell) {
  listeners.add(tell);
}

/**
 * Words in the page's language. An unknown id shows itself.
 * @param {string} id @param {Record<string, string|number>} [values] by the {names} in the words; numbers are formatted
 */
export function text(id, values) {
  const found = table[id] ?? ENGLISH[id];
  return fill(typeof found === "string" ? found : id, values);
}

/**
 * Words with a {count}, in the form that the count needs.
 * @param {string} id @param {number} count @param {Record<string, string|number>} [values]
 */
export function plural(id, count, values) {
  const forms = table[id] ?? ENGLISH[id];
  return fill(typeof forms === "object" ? (forms[rules.select(count)] ?? forms.other) : id, { count, ...values });
}

/** @param {number} value @param {number} [digits] behind the point */
export function number(value, digits = 0) {
  return new Intl.NumberFormat(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** @param {number} share 0 to 1 */
export function percent(share) {
  return text("words.percent", { number: number(100 * share) });
}

/** The time of day. @param {number} at ms since the epoch */
export function clock(at) {
  return new Date(at).toLocaleTimeString(locale, {
    hourCycle: "h23",
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
  });
}

/** The day and the time of day. @param {number} at ms since the epoch */
export function moment(at) {
  return new Date(at).toLocaleString(locale, { dateStyle: "long", timeStyle: "medium", hourCycle: "h23" });
}

/** @param {string[]} parts @returns {string} such as "a, b and c" */
export function list(parts) {
  return forward() + new Intl.ListFormat(locale).format(parts.map(isolated));
}

/**
 * Join facts such as "3 pictures" and "5 MB", each with its number beside its unit.
 * @param {string[]} parts
 * @param {", "|"; "} [mark] between them
 */
export function joined(parts, mark = ", ") {
  return forward() + parts.map(isolated).join(MARKS[code]?.[mark] ?? mark);
}

/** Words as a sentence: with a full stop behind them, where they have no mark of their own. @param {string} words */
export function ended(words) {
  return /[.!?…。।؟！？]$/.test(words) ? words : words + (MARKS[code]?.["."] ?? ".");
}

/** Words of the other direction in a sentence that runs from right to left, as one. @param {string} words */
export function isolated(words) {
  return direction() === "rtl" ? `${ISOLATE}${words}${END_ISOLATE}` : words;
}

// The space between a number and its unit, which no line may break
const UNIT = /(?<=[\d}]) (?=(?:%|[kMG]i?B|[kMG]o|[кКМГ]Б|ك\.ب|ms|мс|ミリ秒|毫秒|sn?|с|秒|min|мин|хв|dk)(?![\p{L}\p{N}’]))/gu;

/** @param {string} sentence @param {Record<string, string|number>} [values] */
function fill(sentence, values) {
  const whole = sentence.replace(UNIT, "\u00a0");
  if (!values) return whole;
  return whole.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return isolated(typeof value === "number" ? new Intl.NumberFormat(locale).format(value) : value);
  });
}

/** The server's sentences and errors in the page's words. Uses no DOM. */


/**
 * By each English sentence that the server sends, the id of its translations: English has no need of them.
 * @type {Map<unknown, string>}
 */
const IDS = new Map();

/** Take the English words that the page does not begin with. @param {Table} words */
export function learn(words) {
  Object.assign(ENGLISH, words);
  for (const [id, said] of Object.entries(words)) if (id.startsWith("server.")) IDS.set(said, id);
}

/**
 * An error's words: the server's own where they are English or have a translation, else the page's for its code.
 * @param {string} code "": the page's own error @param {string} message the server's English, or an id of the page's
 *   own words
 */
export function problem(code, message) {
  const id = IDS.get(message);
  const general = `problem.${code}`;
  return text(!id && language() !== "en" && Object.hasOwn(ENGLISH, general) ? general : (id ?? message));
}

/**
 * The server's sentence if it can be shown in the page's language, else other words.
 * @param {string} [sentence]
 * @param {string} [else_]
 */
export function fromServer(sentence = "", else_ = "") {
  const id = IDS.get(sentence);
  return id || (sentence && language() === "en") ? text(id ?? sentence) : else_;
}

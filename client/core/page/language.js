import { ENGLISH } from "../../languages/en.js";
import { LANGUAGES, direction, language, learn, onLanguage, text, use } from "../words/text.js";
import { change, onSettings, settings } from "./settings.js";

/** @typedef {import("../words/text.js").Table} Table */

// Milliseconds until the words count as missing, and after which they are fetched again at the start
const PATIENCE = 20_000;
const AGAIN = [2000, 10_000, 60_000];

/**
 * The words that an element shows, by its `data-text`, which has an id for its text and `attribute:id` for each
 * attribute.
 * @typedef {{id: string, node: Text|Attr}} Word
 */

/** The words of each id that the elements showed last. @type {Map<string, string>} */
const last = new Map();

/** Show the words of elements that are added to the page. @param {DocumentFragment} added in English */
export function translate(added) {
  for (const { id, node } of read(added)) {
    put(node, text(id));
    last.set(id, text(id));
  }
}

/** The page's language: the browser's, or the one that the user has chosen. Shows the words of index.html in it. */
export class Language {
  /** @type {HTMLSelectElement|null} null until somebody wants to choose */
  #select = null;
  // Grows with each choice, so that words that arrive late are not shown.
  #turn = 0;
  // The last choice, which may still be on its way; "": the browser's language
  #wish = settings().language;
  #onChosen;
  #onMissing;

  /**
   * @param {{onChosen: (language: string) => void, onMissing: (text: string) => void}} hooks
   *   onChosen: the user has chosen a language, "" for the browser's; onMissing: its words did not arrive
   */
  constructor({ onChosen, onMissing }) {
    this.#onChosen = onChosen;
    this.#onMissing = onMissing;
    onSettings(({ language }, before) => {
      if (language === before.language || language === this.#wish) return;
      if (this.#select) this.#select.value = language;
      void this.#choose(language);
    });
    onLanguage(() => this.#show());
    read(document);
    void this.#begin(languageFor(settings().language));
  }

  /** The language that the user has chosen, "" for the browser's. */
  get wish() {
    return this.#wish;
  }

  /** Let the user choose. @param {HTMLSelectElement} select is filled */
  offer(select) {
    this.#select = select;
    const names = Object.entries(LANGUAGES).map(([code, name]) => {
      const option = new Option(name, code);
      option.lang = code;
      return option;
    });
    select.append(new Option(text("page.browser_language"), ""), ...names);
    select.value = settings().language;
    select.addEventListener("change", () => void this.#choose(select.value));
  }

  /** @param {string} code */
  async #begin(code) {
    const turn = this.#turn;
    this.#show();
    for (const wait of AGAIN) {
      const words = await load(code);
      if (turn !== this.#turn) return;
      if (words) return use(code, words, region(code));
      // The page speaks English until they arrive.
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** @param {string} wish "": the browser's */
  async #choose(wish) {
    const turn = ++this.#turn;
    this.#wish = wish;
    const code = languageFor(wish);
    const words = await load(code);
    if (turn !== this.#turn) return;
    if (!words) {
      this.#wish = settings().language;
      if (this.#select) this.#select.value = this.#wish;
      return this.#onMissing(text("page.missing_words"));
    }
    change({ language: wish });
    this.#onChosen(wish);
    use(code, words, region(code));
  }

  #show() {
    const root = document.documentElement;
    root.lang = language();
    root.dir = direction();
    if (this.#select) this.#select.options[0].text = text("page.browser_language");
    const shown = [...wordsIn(document)];
    for (const { id, node } of shown) {
      // Otherwise the page has put other words there since.
      if (plain(node.nodeValue) === plain(last.get(id) ?? ENGLISH[id])) put(node, text(id));
    }
    for (const { id } of shown) last.set(id, text(id));
  }
}

/** Learn English words that elements alone have: no script names them. @param {Document|DocumentFragment} root */
function read(root) {
  const found = [...wordsIn(root)];
  for (const { id, node } of found) ENGLISH[id] ??= plain(node.nodeValue);
  return found;
}

/** @param {Document|DocumentFragment} root with its templates @returns {Generator<Word>} */
function* wordsIn(root) {
  for (const element of root.querySelectorAll("[data-text]")) {
    for (const entry of element.getAttribute("data-text")?.split(" ") ?? []) {
      const [id, attribute] = entry.split(":").reverse();
      const node = attribute
        ? element.getAttributeNode(attribute)
        : [...element.childNodes].find((one) => one instanceof Text && one.data.trim());
      if (node) yield { id, node: /** @type {Text|Attr} */ (node) };
    }
  }
  for (const template of root.querySelectorAll("template")) yield* wordsIn(template.content);
}

/** Words with one space between them, and none around them. @param {unknown} words */
function plain(words) {
  return String(words).trim().replace(/\s+/g, " ");
}

/** @param {Text|Attr} node keeps the spaces around its words @param {string} words */
function put(node, words) {
  node.nodeValue = (node.nodeValue ?? "").replace(/^(\s*).*?(\s*)$/s, (_, before, after) => before + words + after);
}

/** The language to show. @param {string} wish "": the browser's @returns {string} a key of `LANGUAGES` */
function languageFor(wish) {
  if (Object.hasOwn(LANGUAGES, wish)) return wish;
  const found = navigator.languages
    .map((tag) => tag.toLowerCase().split("-")[0])
    .find((one) => Object.hasOwn(LANGUAGES, one));
  return found ?? "en";
}

/** The browser's own tag for a language, with its region. @param {string} code */
function region(code) {
  return navigator.languages.find((tag) => tag.toLowerCase().split("-")[0] === code) ?? code;
}

/** @type {Promise<void>|null} */
let later = null;

/**
 * Load the English words that the page does not begin with: those of its parts, of the features and of the server.
 * @throws when they do not come
 */
export async function laterWords() {
  later ??= wordsOf("en").then(learn);
  await later.catch((error) => {
    later = null;
    throw error;
  });
}

/** @param {string} code @returns {Promise<Table>} the core's words and the features' @throws when they do not come */
async function wordsOf(code) {
  // boot.js has begun to load the first one.
  const reply = await fetch(`/client/languages/${code}.json`, { signal: AbortSignal.timeout(PATIENCE) });
  if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
  return reply.json();
}

/** @param {string} code @returns {Promise<Table|null>} null when they did not arrive */
async function load(code) {
  if (code === "en") return {};
  try {
    const [words] = await Promise.all([wordsOf(code), laterWords()]);
    return words;
  } catch {
    return null;
  }
}

import { LANGUAGES, direction, language, onLanguage, text, use } from "../words/text.js";
import { change, onSettings, settings } from "./settings.js";

// Attributes with words for people and screen readers
const ATTRIBUTES = ["aria-label", "title", "placeholder", "alt"];
// Milliseconds until the words count as missing, and after which they are fetched again at the start
const PATIENCE = 20_000;
const AGAIN = [2000, 10_000, 60_000];

/** A word of index.html: how to read and set it, and its English. @typedef {{get: () => string, set: (words: string) => void, english: string}} Word */

/** Those of the page, and of the parts that were added to it. @type {Word[]} */
const words = [];
/** The translation of each English sentence that was shown last. @type {Map<string, string>} */
const last = new Map();

/** Show the words of elements that are added to the page, from now on. @param {DocumentFragment} added in English */
export function translate(added) {
  const first = words.length;
  collect(added, false);
  for (const { set, english } of words.slice(first)) {
    set(text(english));
    last.set(english, text(english));
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
    collect(document.body, false);
    onSettings(({ language }, before) => {
      if (language === before.language || language === this.#wish) return;
      if (this.#select) this.#select.value = language;
      void this.#choose(language);
    });
    onLanguage(() => this.#show());
    void this.#begin(wanted(settings().language));
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
    select.append(new Option(text("The browser's language"), ""), ...names);
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
    const code = wanted(wish);
    const words = await load(code);
    if (turn !== this.#turn) return;
    if (!words) {
      this.#wish = settings().language;
      if (this.#select) this.#select.value = this.#wish;
      return this.#onMissing(text("The words of this language did not arrive. Try again."));
    }
    change({ language: wish });
    this.#onChosen(wish);
    use(code, words, region(code));
  }

  #show() {
    const root = document.documentElement;
    root.lang = language();
    root.dir = direction();
    if (this.#select) this.#select.options[0].text = text("The browser's language");
    const all = [...words, ...clones()];
    for (const { get, set, english } of all) {
      // Otherwise the page has put other words there since.
      if (get() === (last.get(english) ?? english)) set(text(english));
    }
    for (const { english } of all) last.set(english, text(english));
  }
}

/** @param {Node} root @param {boolean} template its elements will be cloned */
function collect(root, template) {
  for (const node of root.childNodes) {
    if (node instanceof Text && /\p{L}/u.test(node.data)) {
      const word = written(node);
      words.push(word);
      if (template) node.parentElement?.setAttribute("data-en-text", word.english);
    }
    // An element with a language of its own keeps it.
    if (!(node instanceof Element) || node.getAttribute("translate") === "no" || node.hasAttribute("lang")) continue;
    for (const name of ATTRIBUTES) {
      const english = node.getAttribute(name) ?? "";
      if (!/\p{L}/u.test(english)) continue;
      words.push(attribute(node, name, english));
      if (template) node.setAttribute(`data-en-${name}`, english);
    }
    collect(node instanceof HTMLTemplateElement ? node.content : node, template || node instanceof HTMLTemplateElement);
  }
}

/** @param {Text} node @param {string} [english] @returns {Word} */
function written(node, english) {
  const get = () => node.data.trim().replace(/\s+/g, " ");
  return { get, set: (words) => void (node.data = node.data.replace(/^(\s*).*?(\s*)$/s, (_, before, after) => before + words + after)), english: english ?? get() };
}

/** @param {Element} element @param {string} name @param {string} english @returns {Word} */
function attribute(element, name, english) {
  return { get: () => element.getAttribute(name) ?? "", set: (words) => element.setAttribute(name, words), english };
}

/** The words of elements that were cloned from templates. @returns {Word[]} */
function clones() {
  const attributes = ATTRIBUTES.flatMap((name) =>
    [...document.querySelectorAll(`[data-en-${name}]`)].map((one) => attribute(one, name, one.getAttribute(`data-en-${name}`) ?? "")),
  );
  const texts = [...document.querySelectorAll("[data-en-text]")].flatMap((one) => {
    const node = [...one.childNodes].find((child) => child instanceof Text);
    return node instanceof Text ? [written(node, one.getAttribute("data-en-text") ?? "")] : [];
  });
  return [...attributes, ...texts];
}

/** The language to show. @param {string} wish "": the browser's @returns {string} a key of `LANGUAGES` */
function wanted(wish) {
  if (Object.hasOwn(LANGUAGES, wish)) return wish;
  const found = navigator.languages.map((tag) => tag.toLowerCase().split("-")[0]).find((one) => Object.hasOwn(LANGUAGES, one));
  return found ?? "en";
}

/** The browser's own tag for a language, with its region. @param {string} code */
function region(code) {
  return navigator.languages.find((tag) => tag.toLowerCase().split("-")[0] === code) ?? code;
}

/** @param {string} code @returns {Promise<import("../words/text.js").Table|null>} null when they did not arrive */
async function load(code) {
  if (code === "en") return {};
  try {
    // boot.js has begun to load the first one.
    const reply = await fetch(`/client/languages/${code}.json`, { signal: AbortSignal.timeout(PATIENCE) });
    return reply.ok ? await reply.json() : null;
  } catch {
    return null;
  }
}

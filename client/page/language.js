import { LANGUAGES, direction, language, onLanguage, text, use } from "../words/text.js";
import { byId } from "./dom.js";
import { change, onSettings, settings } from "./settings.js";

// What screen readers and people read of an element besides its text
const ATTRIBUTES = ["aria-label", "title", "placeholder", "alt"];
// Milliseconds until the words count as missing, and after which they are fetched again at the start
const PATIENCE = 20_000;
const AGAIN = [2000, 10_000, 60_000];

/** A word of index.html: how to read and set it, and its English. @typedef {{get: () => string, set: (words: string) => void, english: string}} Word */

/** The page's language: the browser's, or the one that the user has chosen. Shows the words of index.html in it. */
export class Language {
  #select = byId("language", HTMLSelectElement);
  /** @type {Word[]} */
  #words = [];
  /** @type {Map<string, string>} how each English sentence was shown last */
  #last = new Map();
  // Grows with each choice, so that words that arrive late are not shown.
  #turn = 0;
  #onChosen;
  #onMissing;

  /**
   * @param {{onChosen: (language: string) => void, onMissing: (text: string) => void}} hooks
   *   onChosen: the user has chosen a language, "" for the browser's; onMissing: its words did not arrive
   */
  constructor({ onChosen, onMissing }) {
    this.#onChosen = onChosen;
    this.#onMissing = onMissing;
    this.#collect(document.body, false);
    const names = Object.entries(LANGUAGES).map(([code, name]) => {
      const option = new Option(name, code);
      option.lang = code;
      return option;
    });
    this.#select.append(new Option("", ""), ...names);
    this.#select.value = settings().language;
    this.#select.addEventListener("change", () => void this.#choose(this.#select.value));
    onSettings(({ language }, before) => {
      if (language === before.language || language === this.#select.value) return;
      this.#select.value = language;
      void this.#choose(language);
    });
    onLanguage(() => this.#show());
    void this.#begin(wanted(settings().language));
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
    const code = wanted(wish);
    const words = await load(code);
    if (turn !== this.#turn) return;
    if (!words) {
      this.#select.value = settings().language;
      return this.#onMissing(text("The words of this language did not arrive. Try again."));
    }
    change({ language: wish });
    use(code, words, region(code));
    this.#onChosen(wish);
  }

  #show() {
    const root = document.documentElement;
    root.lang = language();
    root.dir = direction();
    this.#select.options[0].text = text("The browser's language");
    const words = [...this.#words, ...clones()];
    for (const { get, set, english } of words) {
      // Otherwise the page has put other words there since.
      if (get() === (this.#last.get(english) ?? english)) set(text(english));
    }
    for (const { english } of words) this.#last.set(english, text(english));
  }

  /** @param {Node} root @param {boolean} template its elements will be cloned */
  #collect(root, template) {
    for (const node of root.childNodes) {
      if (node instanceof Text && /\p{L}/u.test(node.data)) {
        const word = written(node);
        this.#words.push(word);
        if (template) node.parentElement?.setAttribute("data-en-text", word.english);
      }
      if (!(node instanceof Element) || node.getAttribute("translate") === "no") continue;
      for (const name of ATTRIBUTES) {
        const english = node.getAttribute(name) ?? "";
        if (!/\p{L}/u.test(english)) continue;
        this.#words.push(attribute(node, name, english));
        if (template) node.setAttribute(`data-en-${name}`, english);
      }
      this.#collect(node instanceof HTMLTemplateElement ? node.content : node, template || node instanceof HTMLTemplateElement);
    }
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

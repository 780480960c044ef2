import { text } from "../words/text.js";
import { byId, say, stays } from "./dom.js";
import { laterWords, translate } from "./language.js";

/** Milliseconds after which a loading part counts as missing. */
const PATIENCE = 20_000;

/**
 * @typedef {Object} PartHooks
 * @property {URL} address of the part's first module
 * @property {() => Promise<any>} load imports it and creates the part
 * @property {(again: () => void) => void} onMissing it did not load, and `again` tries once more
 * @property {URL[]} [sheets] its style sheets
 * @property {URL} [elements] a file with its elements, which stand in the page from then on
 */

/**
 * Make a call that runs once, so many milliseconds after it was first wanted.
 * @param {number} ms
 * @param {() => void} call
 */
export function onceLater(ms, call) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  return () => {
    timer ||= setTimeout(call, ms);
  };
}

/**
 * A part of the page that is loaded when it is opened.
 * @template {{open?: () => void}} T
 */
export class Part {
  /** @type {T|null} null until it is loaded */
  here = null;

  /** @type {Promise<T>|null} set while it loads */
  #coming = null;
  #opening = false;
  #hooks;

  /** @param {PartHooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  /** Open it, and load it first if necessary. @param {HTMLElement} opener looks busy until then */
  async open(opener) {
    if (this.here) return this.here.open?.();
    if (this.#opening) return;
    this.#opening = true;
    opener = stays(opener);
    opener.setAttribute("aria-busy", "true");
    try {
      (await this.#inTime()).open?.();
    } catch (error) {
      // Usually the network, which the message names; an error in the part would look the same.
      console.warn("A part of the page did not load:", error);
      this.#hooks.onMissing(() => void this.open(opener));
    } finally {
      opener.removeAttribute("aria-busy");
      this.#opening = false;
    }
  }

  /** Load it in advance. A failure is reported only when it is opened. */
  async ahead() {
    if (this.here) return;
    try {
      await this.#inTime();
    } catch {
      // Reported when it is opened.
    }
  }

  /** @returns {Promise<T>} @throws when it does not load in time */
  async #inTime() {
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    let timer;
    /** @type {Promise<never>} */
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("It did not come in time.")), PATIENCE);
    });
    this.#coming ??= this.#begin();
    try {
      return await Promise.race([this.#coming, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #begin() {
    const { address, sheets = [], elements, load } = this.#hooks;
    try {
      // A failed import fails for ever in Firefox: import only once the server responds.
      const { ok, status } = await fetch(address, { signal: AbortSignal.timeout(PATIENCE) });
      if (!ok) throw new Error(`The server answered ${status}.`);
      const words = laterWords();
      await Promise.all([
        import(address.href),
        words,
        ...sheets.map(addSheet),
        elements && words.then(() => addElements(elements)),
      ]);
      return (this.here = await load());
    } finally {
      // Allow another attempt.
      this.#coming = null;
    }
  }
}

/** Reports that a part of the page did not load, and loads it again. */
export class MissingDialog {
  #dialog = byId("missing-dialog", HTMLDialogElement);
  #again = () => {};

  constructor() {
    byId("missing-later", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("missing-retry", HTMLButtonElement).addEventListener("click", () => {
      this.#dialog.close();
      this.#again();
    });
  }

  /** @param {string} missed id of the words that it did not arrive @param {() => void} again */
  open(missed, again) {
    this.#again = again;
    say(byId("missing-title", HTMLElement), text(missed));
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

/** Add a part's style sheet, once. @param {URL} address @throws when it does not load */
async function addSheet({ href }) {
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return;
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.dataset.part = "";
  link.href = href;
  const loaded = new Promise((resolve, reject) => {
    link.addEventListener("load", resolve);
    link.addEventListener("error", () => reject(new Error("A style sheet did not load.")));
  });
  document.head.append(link);
  try {
    await loaded;
  } catch (error) {
    link.remove();
    throw error;
  }
}

/**
 * Add a part's elements, once: the dialogs and templates of a file of this server.
 * @param {URL} address
 * @throws when it does not load
 */
async function addElements(address) {
  const request = new XMLHttpRequest();
  request.responseType = "document";
  request.timeout = PATIENCE;
  request.open("GET", address);
  const loaded = new Promise((resolve) => request.addEventListener("loadend", resolve));
  request.send();
  await loaded;
  if (request.status !== 200 || !request.responseXML) throw new Error(`The server answered ${request.status}.`);
  // A template before all else stands in the head.
  const { head, body } = request.responseXML;
  const added = [...head.children, ...body.children].filter(({ id }) => id && !document.getElementById(id));
  const fragment = document.createDocumentFragment();
  fragment.append(...added);
  translate(fragment);
  for (const element of added) {
    // Where the page has a place for it; else behind all others
    document.querySelector(`template[data-slot="${element.id}"]`)?.replaceWith(element);
  }
  document.body.append(fragment);
}

/** @typedef {import("../live/messages.d.ts").Ready} Ready */

/**
 * True where a feature is on; `ready` is null before the server has said so.
 * @typedef {(ready: Ready|null, feature: string) => boolean} IsOn
 */

// Milliseconds until one that did not load is tried again
const AGAIN = 5000;

/** The features' parts of one thing: of the page, or of the operator's panel. Each is loaded when `ready` names it. */
export class FeatureParts {
  /** @type {Map<string, Part<any>>} */
  #parts;
  /** Those that have registered, or are on their way. @type {Map<string, Promise<void>>} */
  #begun = new Map();

  /**
   * @param {string[]} names of features
   * @param {(feature: string) => {address: URL, elements?: URL, sheets?: URL[]}} files
   * @param {IsOn} isOn
   */
  constructor(names, files, isOn) {
    this.has = isOn;
    const make = (/** @type {string} */ name) => {
      const own = files(name);
      return new Part({ ...own, load: () => import(own.address.href), onMissing: () => {} });
    };
    this.#parts = new Map(names.map((name) => [name, make(name)]));
  }

  /**
   * Load those that are on and are not here yet, and have each register. What does not load is tried
   * again with the next call.
   * @param {Ready|null} ready null before the first: those that are on in any case
   * @param {any} api
   */
  load(ready, api) {
    for (const [name, part] of this.#parts) if (this.has(ready, name)) void this.#register(name, part, api);
  }

  /** Load one, even before anybody knows whether it is on. @param {string} name @param {any} api */
  async ahead(name, api) {
    const part = this.#parts.get(name);
    if (part) await this.#register(name, part, api);
  }

  /** @param {string} name @param {Part<any>} part @param {any} api */
  #register(name, part, api) {
    const begun = this.#begun.get(name) ?? this.#begin(name, part, api);
    this.#begun.set(name, begun);
    return begun;
  }

  /** @param {string} name @param {Part<any>} part @param {any} api */
  async #begin(name, part, api) {
    await part.ahead();
    if (part.here) part.here.register(api);
    else setTimeout(() => this.#begun.delete(name), AGAIN);
  }
}

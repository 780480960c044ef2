import { Part } from "./part.js";

/** @typedef {import("../live/messages.d.ts").Ready} Ready */

/**
 * Parts of features by their names, each loaded with the first `ready` that names its feature.
 * @typedef {Record<string, () => Promise<{register: (api: any) => void}>>} Loaders
 */

/**
 * True where a feature is on; `ready` is null before the server has said so.
 * @typedef {(ready: Ready|null, feature: string) => boolean} IsOn
 */

// Milliseconds until one that did not load is tried again
const AGAIN = 5000;

/** The features' parts of one thing: of the page, or of the operator's panel. */
export class FeatureParts {
  /** @type {Map<string, Part<any>>} */
  #parts;
  /** Those that have registered, or are on their way. @type {Set<string>} */
  #begun = new Set();

  /**
   * @param {Loaders} loaders
   * @param {(feature: string) => {address: URL, elements?: URL}} files
   * @param {IsOn} isOn
   */
  constructor(loaders, files, isOn) {
    this.has = isOn;
    const make = (/** @type {string} */ name) =>
      new Part({ ...files(name), load: loaders[name], onMissing: () => {} });
    this.#parts = new Map(Object.keys(loaders).map((name) => [name, make(name)]));
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

  /** Load one before anybody knows whether it is on. @param {string} name @param {any} api */
  ahead(name, api) {
    const part = this.#parts.get(name);
    if (part) void this.#register(name, part, api);
  }

  /** @param {string} name @param {Part<any>} part @param {any} api */
  async #register(name, part, api) {
    if (this.#begun.has(name)) return;
    this.#begun.add(name);
    await part.ahead();
    if (part.here) part.here.register(api);
    else setTimeout(() => this.#begun.delete(name), AGAIN);
  }
}

/** Simple mode: the built-in engine, which can do less, answers in place of a model. Uses no DOM. */

import { text } from "../words/text.js";

/** @typedef {import("../live/facts.js").Facts} Facts */

export const SIMPLE_MODE = "stage.simple_mode";

/** @param {Pick<Facts, "ready"|"status">} facts @returns {boolean} the built-in engine answers */
export function inSimpleMode({ ready, status }) {
  return (status?.engine ?? ready?.engine) === "builtin";
}

/** Reports once that the built-in engine has replaced a model, and once that a model is back. */
export class Stand {
  /** @type {boolean|null} null while unknown */
  #simple = null;

  /**
   * @param {string} engine the engine that answers
   * @param {string} model
   * @returns {string} the note for the user; "" for none
   */
  heard(engine, model) {
    const before = this.#simple;
    this.#simple = engine === "builtin";
    if (before === null || before === this.#simple) return "";
    if (this.#simple) return text("stage.model_silent", { simple: text(SIMPLE_MODE) });
    return text("stage.model_back", { model });
  }
}

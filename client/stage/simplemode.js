/** Simple mode: the built-in engine, which can do less, answers in place of a model. Uses no DOM. */

/** @typedef {import("../live/facts.js").Facts} Facts */

export const SIMPLE_MODE = "Simple mode: text, codes, colours";

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
    if (this.#simple) return `The model does not answer. ${SIMPLE_MODE}. You are told when a model is back.`;
    return `A model answers again: ${model}.`;
  }
}

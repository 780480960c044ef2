/** Where no model answers, the built-in engine does, which can do less. Knows no page. */

/** @typedef {import("../live/facts.js").Facts} Facts */

export const SIMPLE_MODE = "Simple mode: text, codes, colours";

/** @param {Pick<Facts, "ready"|"status">} facts @returns {boolean} the built-in engine answers */
export function inSimpleMode({ ready, status }) {
  return (status?.engine ?? ready?.engine) === "builtin";
}

/** Says once that the built-in engine has taken a model's place, and once that a model is back. */
export class Stand {
  /** @type {boolean|null} null before anything is known */
  #simple = null;

  /**
   * @param {string} engine that answers, or has answered
   * @param {string} model
   * @returns {string} what a person has to be told; "" for nothing
   */
  heard(engine, model) {
    const before = this.#simple;
    this.#simple = engine === "builtin";
    if (before === null || before === this.#simple) return "";
    if (this.#simple) return `The model does not answer. ${SIMPLE_MODE}. You are told when a model is back.`;
    return `A model answers again: ${model}.`;
  }
}

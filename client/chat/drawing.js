/** @typedef {import("./conversation.js").Turn} Turn */

/**
 * Draws each turn that changed once before the next picture of the page, however often it changed meanwhile:
 * words may come faster than a screen shows them, and a question has to be on its way before it is drawn.
 */
export class Drawing {
  #draw;
  /** @type {Set<Turn>} at most what the conversation keeps; in the order in which they changed first */
  #changed = new Set();
  #frame = 0;

  /** @param {(turns: Iterable<Turn>) => void} draw */
  constructor(draw) {
    this.#draw = draw;
  }

  /** @param {Turn} turn */
  changed(turn) {
    this.#changed.add(turn);
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** It is not to be drawn any more. @param {Turn} turn */
  gone(turn) {
    this.#changed.delete(turn);
  }

  /** Draw at once what waits, for whatever is to stand below it. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const turns = [...this.#changed];
    this.#changed.clear();
    if (turns.length > 0) this.#draw(turns);
  }
}

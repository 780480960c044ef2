/** @typedef {import("./conversation.js").Turn} Turn */

/**
 * Draws each changed turn once per animation frame: words may arrive faster than the screen shows them, and a question is
 * sent before it is drawn.
 */
export class Drawing {
  #draw;
  /** @type {Set<Turn>} in the order of their first change; at most all turns of the conversation */
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

  /** Do not draw this turn any more. @param {Turn} turn */
  gone(turn) {
    this.#changed.delete(turn);
  }

  /** Draw the changed turns at once, before something is added below them. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const turns = [...this.#changed];
    this.#changed.clear();
    if (turns.length > 0) this.#draw(turns);
  }
}

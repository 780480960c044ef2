/** @typedef {import("../../core/live/messages.d.ts").Recalled} Recalled */
/** @typedef {import("../../core/live/messages.d.ts").Ready} Ready */

/** The server's pictures of the recent past: the wish for them, and what it keeps. Uses no DOM. */
export class Memory {
  /** @type {Recalled|null} null before the server's first word */
  kept = null;
  /** @type {{seconds: number, bytes: number}|null} the most that the server keeps; null for nothing */
  bounds = null;

  #wanted;
  #hooks;

  /**
   * @param {boolean} wanted
   * @param {{send: (message: import("../../core/live/messages.d.ts").ClientMessage) => boolean,
   *   onWish: (wanted: boolean) => void,
   *   onChange: () => void}} hooks
   */
  constructor(wanted, hooks) {
    this.#wanted = wanted;
    this.#hooks = hooks;
  }

  get wanted() {
    return this.#wanted;
  }

  /** @param {boolean} open the socket is @param {Ready|null} ready */
  connected(open, ready) {
    const { seconds = 0, bytes = 0 } = ready?.features.recall ?? {};
    this.bounds = seconds > 0 ? { seconds, bytes } : null;
    if (!open) this.kept = null;
    this.#hooks.onChange();
  }

  /** @param {boolean} wanted */
  want(wanted) {
    this.#wanted = wanted;
    if (!wanted) this.kept = null;
    this.#hooks.onWish(wanted);
    this.#hooks.onChange();
  }

  /** Drop all pictures. */
  forget() {
    this.#hooks.send({ type: "clear_recall" });
  }

  /** @param {Recalled} message */
  received(message) {
    this.kept = message;
    this.#hooks.onChange();
  }
}

/** @typedef {import("./facts.js").Facts} Facts */
/** @typedef {import("./facts.js").Preferred} Preferred */

/** The running description: on or off, and the settings of it that the user has changed. */
export class Describing {
  #facts;
  #set;
  #socket;

  /**
   * @param {Object} parts
   * @param {() => Facts} parts.facts
   * @param {(change: Partial<Facts>) => void} parts.set
   * @param {import("./socket.js").ChatSocket} parts.socket
   */
  constructor({ facts, set, socket }) {
    this.#facts = facts;
    this.#set = set;
    this.#socket = socket;
  }

  /** @param {boolean} describing @returns {boolean} true when the message was sent */
  want(describing) {
    if (!this.#send(describing)) return false;
    this.#set({ describing });
    return true;
  }

  /** Change settings; they hold for new sessions of this page, too. @param {Preferred} change */
  prefer(change) {
    this.#set({ preferred: { ...this.#facts().preferred, ...change } });
    this.#socket.send({ type: "settings", ...change });
  }

  /** Send again whether to describe, because the server may not know. */
  repeat() {
    this.#send(this.#facts().describing);
  }

  /** The settings of a socket that has just opened: its session may be new, or have missed a change. */
  settings() {
    const { describing, preferred } = this.#facts();
    // A description continues only after consent to where its pictures go.
    return { ...preferred, ...(describing ? {} : { describe: false }) };
  }

  /** @param {boolean} describing */
  #send(describing) {
    return this.#socket.send({ type: "settings", describe: describing && !this.#facts().disclose });
  }
}

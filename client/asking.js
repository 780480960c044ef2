import { pageTime } from "./messages.js";

/** @typedef {import("./facts.js").Facts} Facts */
/** @typedef {import("./facts.js").Question} Question */

// A question goes out this long after connecting even if the server did not call the camera live yet.
export const PATIENCE = 4000;

/**
 * Whether a question could be answered as things stand, or refused by the server with a reason: it knows more of that.
 * @param {Facts} facts @param {number} connectedFor ms
 */
export function answerable({ camera, held, link, socket, status, disclose }, connectedFor) {
  if (socket !== "open" || disclose) return false;
  // What is wrong with another device's camera is for the server to say.
  if (held || camera === "elsewhere") return true;
  if (link !== "connected") return false;
  // Stalled and frozen are for the server to say: it knows what to do about it.
  if (["live", "stalled", "frozen"].includes(status?.camera ?? "")) return true;
  return connectedFor > PATIENCE;
}

/** Questions on their way out: the newest waits until there is a way to ask it. Knows no page and no connection. */
export class Asking {
  #count = 0;
  /** @type {Question|null} asked before there was a way to send it */
  #waiting = null;
  #ready;
  #send;
  #onSent;

  /**
   * @param {{ready: () => boolean, send: (message: Object) => boolean, onSent: (id: string) => void}} hooks
   *   send: whether it went out
   */
  constructor({ ready, send, onSent }) {
    this.#ready = ready;
    this.#send = send;
    this.#onSent = onSent;
  }

  /**
   * Ask now, or when `flush` finds a way.
   * @param {string} content @param {Question["detail"]} detail @param {number} at when it was asked
   * @returns {{id: string, sent: boolean}}
   */
  ask(content, detail, at) {
    const id = `q${++this.#count}`;
    this.#waiting = { id, content, detail };
    this.flush(at);
    return { id, sent: this.#waiting === null };
  }

  /** @param {string} id @returns {boolean} false when it is not the one that waits */
  drop(id) {
    if (this.#waiting?.id !== id) return false;
    this.#waiting = null;
    return true;
  }

  /** @returns {Question|null} the one that waited; it does not any more */
  dropAny() {
    const waiting = this.#waiting;
    this.#waiting = null;
    return waiting;
  }

  /** @param {number} [at] when it was asked; for a question that waited, now: its frame has to be a new one */
  flush(at = pageTime()) {
    const question = this.#waiting;
    if (!question || !this.#ready()) return;
    const { id, content, detail } = question;
    if (!this.#send({ type: "chat", content, id, sent_at: at, detail })) return;
    this.#waiting = null;
    this.#onSent(id);
  }
}

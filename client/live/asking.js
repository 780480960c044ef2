import { pageTime } from "./messages.js";

/** @typedef {import("./facts.js").Facts} Facts */
/** @typedef {import("./facts.js").Question} Question */

// A question that is not heard of for this long may be lost: the server says soon that it has it.
const HEARD_WITHIN = 1500;
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
  // The server sees it: an older connection carries it while a newer one is offered.
  if (status?.camera === "live" && link !== "closed") return true;
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
  /** @type {Question|null} went out, and has no end yet */
  #sent = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #unheard;
  #ready;
  #send;
  #onSent;
  #onUnheard;

  /**
   * @param {{ready: () => boolean, send: (message: Object) => boolean, onSent: (id: string) => void,
   *   onUnheard?: () => void}} hooks
   *   send: whether it went out; onUnheard: the server does not say that it has it
   */
  constructor({ ready, send, onSent, onUnheard = () => {} }) {
    this.#ready = ready;
    this.#send = send;
    this.#onSent = onSent;
    this.#onUnheard = onUnheard;
  }

  /**
   * Ask now, or when `flush` finds a way.
   * @param {string} content @param {Question["detail"]} detail @param {number} at when it was asked
   * @returns {{id: string, sent: boolean}}
   */
  ask(content, detail, at) {
    const id = `q${++this.#count}`;
    this.#waiting = { id, content, detail };
    this.#sent = null;
    this.flush(at);
    return { id, sent: this.#waiting === null };
  }

  /** @param {string} id @returns {boolean} false when it is not the one that waits */
  drop(id) {
    if (this.#sent?.id === id) this.#sent = null;
    if (this.#waiting?.id !== id) return false;
    this.#waiting = null;
    return true;
  }

  /** @returns {Question|null} the one that waited; it does not any more */
  dropAny() {
    const waiting = this.#waiting;
    this.#waiting = this.#sent = null;
    return waiting;
  }

  /** The server spoke of it. @param {string} id @param {string} type of the message */
  heard(id, type) {
    if (this.#sent?.id !== id) return;
    clearTimeout(this.#unheard);
    if (type === "response" || type === "error") this.#sent = null;
  }

  /**
   * The socket that it went into is gone: it waits, to be sent once more.
   * @returns {string} its id; "" for none, or one that was sent twice already
   */
  again() {
    const question = this.#sent;
    this.#sent = null;
    if (!question || question.again || this.#waiting) return "";
    this.#waiting = { ...question, again: true };
    return question.id;
  }

  /** @param {number} [at] when it was asked; for a question that waited, now: its frame has to be a new one */
  flush(at = pageTime()) {
    const question = this.#waiting;
    if (!question || !this.#ready()) return;
    // Sent again it is the very same message: the server knows by it what it has already.
    const sent = { at, ...question };
    if (!this.#send({ type: "chat", content: sent.content, id: sent.id, sent_at: sent.at, detail: sent.detail })) return;
    this.#waiting = null;
    this.#sent = sent;
    clearTimeout(this.#unheard);
    this.#unheard = setTimeout(() => this.#sent === sent && this.#onUnheard(), HEARD_WITHIN);
    this.#onSent(sent.id);
  }
}

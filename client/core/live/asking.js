import { pageTime } from "./api.js";

/** @typedef {import("./facts.js").Facts} Facts */
/** @typedef {import("./facts.js").Question} Question */
/** @typedef {import("./facts.js").Preferred} Preferred */

// A question that the server has not acknowledged within this time (ms) may be lost.
const HEARD_WITHIN = 1500;
// Time after connecting (ms) after which a question is sent even if the camera is not live yet.
export const PATIENCE = 4000;

/**
 * True when the server can answer a question now, or refuse it better than the page.
 * @param {Facts} facts @param {number} connectedFor ms
 */
export function answerable({ camera, held, link, socket, status, disclose }, connectedFor) {
  if (socket !== "open" || disclose) return false;
  if (held || camera === "elsewhere") return true;
  // An older connection sends while a newer one is set up.
  if (status?.camera === "live" && link !== "closed") return true;
  if (link !== "connected") return false;
  // The server explains stalled and frozen, and what to do.
  if (["live", "stalled", "frozen"].includes(status?.camera ?? "")) return true;
  return connectedFor > PATIENCE;
}

/** Sends questions; the newest waits until it can be sent. */
export class Asking {
  #count = 0;
  /** @type {Question|null} not sent yet */
  #waiting = null;
  /** @type {Question|null} sent, and not answered yet */
  #sent = null;
  /** @type {Set<string>} ids of the answers under way */
  #running = new Set();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #unheard;
  #ready;
  #send;
  #onSent;
  #onUnheard;

  /**
   * @param {{ready: () => boolean, send: (message: Object) => boolean, onSent: (id: string) => void,
   *   onUnheard?: () => void}} hooks
   *   send: true when it was sent; onUnheard: the server has not acknowledged the question in time
   */
  constructor({ ready, send, onSent, onUnheard = () => {} }) {
    this.#ready = ready;
    this.#send = send;
    this.#onSent = onSent;
    this.#onUnheard = onUnheard;
  }

  /**
   * @param {string} content @param {Question["detail"]} detail @param {number} at when it was asked @param
   *   {Question["route"]} [route]
   * @param {Question["part"]|null} [part]
   * @returns {{id: string, sent: boolean}}
   */
  ask(content, detail, at, route, part) {
    const id = `q${++this.#count}`;
    this.#waiting = { id, content, detail, ...(route && { route }), ...(part && { part }) };
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

  get answering() {
    return this.#running.size > 0;
  }

  /** @param {boolean} [finish] answers go on @returns {Question|null} the waiting question, which is removed */
  dropAny(finish = false) {
    if (!finish) this.#running.clear();
    const waiting = this.#waiting;
    this.#waiting = this.#sent = null;
    return waiting;
  }

  /** Note that the server has acknowledged a question. @param {{id?: string, type: string, kind?: string}} message */
  heard({ id = "", type, kind }) {
    const ended = type === "response" || type === "error" || type === "transcript";
    if (ended) this.#running.delete(id);
    // A spoken one's; a description is no answer, and may end without a word.
    else if (type === "started" && kind === "chat") this.#running.add(id);
    if (this.#sent?.id !== id) return;
    clearTimeout(this.#unheard);
    if (ended) this.#sent = null;
  }

  /**
   * Queue the sent question again, because its socket was lost.
   * @returns {string} its id; "" for none, or for one that was already sent twice
   */
  again() {
    const question = this.#sent;
    this.#sent = null;
    this.#running.clear();
    if (!question || question.again || this.#waiting) return "";
    this.#waiting = { ...question, again: true };
    return question.id;
  }

  /** @param {number} [at] time of the question; for one that waited it is now, so that its frame is a new one */
  flush(at = pageTime()) {
    const question = this.#waiting;
    if (!question || !this.#ready()) return;
    // The repeated message is identical, so that the server recognises it.
    const sent = { at, ...question };
    const { content, id, detail, route, part } = sent;
    if (
      !this.#send({
        type: "chat",
        content,
        id,
        sent_at: sent.at,
        detail,
        orders: true,
        ...(route && { route }),
        ...(part && { part }),
      })
    )
      return;
    this.#waiting = null;
    this.#sent = sent;
    this.#running.add(id);
    clearTimeout(this.#unheard);
    this.#unheard = setTimeout(() => this.#sent === sent && this.#onUnheard(), HEARD_WITHIN);
    this.#onSent(sent.id);
  }
}

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

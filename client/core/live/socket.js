import { ApiError, Backoff, numbered, parse } from "./api.js";
import { problem } from "../words/text.js";

/** @typedef {import("./messages.d.ts").ClientMessage} ClientMessage */
/** @typedef {import("./messages.d.ts").ServerMessage} ServerMessage */
/** @typedef {"closed"|"connecting"|"open"|"waiting"|"ended"} SocketState waiting: will try again; ended: will not */

const PING_EVERY = 20_000;
// Milliseconds without any message after a ping until the connection counts as dead.
const SILENCE = 10_000;
// Time (ms) for a socket to answer on a link that has just come back
const RENEWED_WITHIN = 400;
// An attempt younger than this (ms) is not restarted.
const JUST_BEGUN = 300;
// Time (ms) to open: a new attempt gets through sooner than lost packets.
const OPEN_WITHIN = 5000;

/**
 * The reaction to a close code of the server. "token": the same session with another token, "session": a new session,
 * "slow": after a long pause, "never": only when the user asks, "over": like never, and with the access code again. Any
 * other code: try again soon.
 * @type {Record<number, "token"|"session"|"slow"|"never"|"over">}
 */
const AFTER_CLOSE = {
  4401: "token",
  4403: "never",
  4404: "session",
  4408: "never",
  4409: "never",
  4410: "over",
  4429: "slow",
};

/** The WebSocket of a session, which reconnects by itself. Uses no DOM. */
export class ChatSocket {
  /** @type {SocketState} */
  state = "closed";
  // Failed attempts with a token before the first socket ever opened; 0 from then on
  unopened = 0;

  /** True after an unanswered ping: a message sent now may be lost. */
  doubted = false;

  #session;
  #onMessage;
  #onState;
  #onTrusted;
  #onSilent;
  #backoff = new Backoff();
  /** @type {WebSocket|null} */
  #ws = null;
  // Grows with every open and close: code after an await, and the server, notice an outdated one.
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} next try, or the limit for opening */
  #timer;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #pinger;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #silence;
  // A second socket to replace a silent one; null without one.
  /** @type {WebSocket|null} */
  #spare = null;
  // Unneeded sockets that are still opening
  /** @type {Set<WebSocket>} */
  #leftover = new Set();
  // performance.now() at the start of the newest attempt
  #begunAt = -Infinity;
  // True when the silent one has answered since the spare was opened
  #spoke = false;
  // performance.now() before which the server accepts no new connection
  #notBefore = 0;
  #everOpened = false;
  // Consecutive refusals that a new token did not solve
  #refused = 0;

  /**
   * @param {{session: import("./session.js").Session, onMessage: (message: ServerMessage) => void,
   *   onState: (state: SocketState, code: number, error: ApiError|null) => void, onTrusted?: () => void,
   *   onSilent?: () => void}} parts
   *   code: the close code, 0 for none; error: the error of the token request; onTrusted: `doubted` became false;
   *   onSilent: a ping was not answered in time. "open" is reported again when a socket has replaced a silent one
   */
  constructor({ session, onMessage, onState, onTrusted = () => {}, onSilent = () => {} }) {
    this.#session = session;
    this.#onMessage = onMessage;
    this.#onState = onState;
    this.#onTrusted = onTrusted;
    this.#onSilent = onSilent;
  }

  /** Connect now, without waiting. Does nothing when it is open or opening. */
  open() {
    if (this.state === "open" || this.state === "connecting") return;
    void this.#connect(++this.#attempt);
  }

  /** Connect now instead of waiting longer, because the network works again. */
  hurry() {
    if (this.state === "waiting" && performance.now() >= this.#notBefore) this.open();
  }

  /**
   * Send a ping, and open a spare when it is not answered in time; until then the socket is trusted.
   * @param {number} within milliseconds
   */
  ask(within) {
    if (this.#ws && this.state === "open" && !this.#spare && !this.doubted) this.#ping(this.#ws, within);
  }

  /** Check the connection now, and open a spare if it is dead. @param {number} [within] milliseconds */
  probe(within) {
    if (!this.#ws || this.state !== "open" || this.#spare) return;
    this.doubted = true;
    this.#ping(this.#ws, within);
  }

  /** Replace the socket after a cut: TCP repeats lost packets late, a new connection gets through at once. */
  renew() {
    if (this.state === "waiting") return this.hurry();
    if (performance.now() - this.#begunAt < JUST_BEGUN) return;
    if (this.state === "connecting") {
      this.#drop();
      void this.#connect(++this.#attempt);
    } else if (this.state === "open") {
      if (!this.doubted) return this.probe(RENEWED_WITHIN);
      this.#dropSpare();
      void this.#replace();
    }
  }

  /**
   * @param {ClientMessage} message
   * @returns {boolean} false without an open socket; the message is not queued
   */
  send(message) {
    if (this.state !== "open" || this.#ws?.readyState !== WebSocket.OPEN) return false;
    this.#ws.send(JSON.stringify(message));
    return true;
  }

  close() {
    this.#drop();
    this.#refused = 0;
    this.#backoff.reset();
    this.#set("closed");
  }

  /** @param {number} attempt */
  async #connect(attempt) {
    clearTimeout(this.#timer);
    this.#set("connecting");
    try {
      await this.#session.ensure();
    } catch (error) {
      if (attempt !== this.#attempt) return;
      const failure = error instanceof ApiError ? error : new ApiError(String(error), { retryable: false });
      if (failure.retryable) this.#again(failure.retryAfter * 1000, 0, failure);
      else this.#set("ended", 0, failure);
      return;
    }
    if (attempt !== this.#attempt) return;
    const ws = this.#make(attempt);
    this.#ws = ws;
    this.#timer = setTimeout(() => this.#closed(ws, 0), OPEN_WITHIN);
    ws.onopen = () => {
      if (ws !== this.#ws) return;
      clearTimeout(this.#timer);
      this.#everOpened = true;
      this.unopened = 0;
      this.#pinger = setInterval(() => this.#ping(ws), PING_EVERY);
      this.#set("open");
    };
  }

  /** @param {number} attempt */
  #make(attempt) {
    // A browser opens one socket to a server at a time: these would be in the way.
    for (const ws of this.#leftover) ws.close();
    this.#leftover.clear();
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const address = `${scheme}//${location.host}/ws/${encodeURIComponent(this.#session.id ?? "")}`;
    const ws = new WebSocket(numbered(address, attempt), ["qwen-camera", `bearer.${this.#session.token}`]);
    this.#begunAt = performance.now();
    ws.onmessage = (event) => {
      if (ws === this.#ws) this.#received(parse(event.data));
    };
    // An error is always followed by a close event with the code.
    ws.onclose = (event) => {
      this.#leftover.delete(ws);
      this.#closed(ws, event.code);
    };
    return ws;
  }

  /** Open a spare beside the silent socket; nothing is reported until it is open. */
  async #replace() {
    const attempt = ++this.#attempt;
    this.#begunAt = performance.now();
    this.#spoke = false;
    const old = this.#ws;
    try {
      await this.#session.ensure();
    } catch {
      if (attempt === this.#attempt && old) this.#closed(old, 1006);
      return;
    }
    if (attempt !== this.#attempt || this.state !== "open") return;
    const ws = (this.#spare = this.#make(attempt));
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#closed(ws, 0), OPEN_WITHIN);
    ws.onopen = () => {
      if (ws === this.#spare) this.#adopt(ws);
    };
  }

  /** Go on with another socket, which is open. @param {WebSocket} ws */
  #adopt(ws) {
    // The server closes the old one, because a session has one socket.
    const before = this.#ws;
    this.#spare = null;
    this.#ws = ws;
    before?.close();
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    clearInterval(this.#pinger);
    this.#pinger = setInterval(() => this.#ping(ws), PING_EVERY);
    this.#silence = setTimeout(() => this.#closed(ws, 1006), SILENCE);
    this.#onState("open", 0, null);
  }

  #dropSpare() {
    const spare = this.#spare;
    this.#spare = null;
    if (spare) this.#retire(spare);
  }

  /**
   * Close a socket. One that is still opening is closed when it has opened, because browsers log an error otherwise.
   * @param {WebSocket} ws
   */
  #retire(ws) {
    if (ws.readyState !== WebSocket.CONNECTING) return ws.close();
    this.#leftover.add(ws);
    ws.onopen = () => {
      if (this.#leftover.delete(ws)) ws.close();
    };
  }

  /** @param {ServerMessage|null} message */
  #received(message) {
    clearTimeout(this.#silence);
    if (message === null) return;
    if (message.type === "ready") {
      // The first message means acceptance: the server refuses with a close code after opening.
      this.#refused = 0;
      this.#backoff.reset();
    }
    if (message.type === "error") {
      const english = message.message;
      Object.assign(message, { english, message: problem(message.code, english) });
    }
    if (message.type !== "pong") this.#onMessage(message);
    if (!this.doubted) return;
    this.#spoke = true;
    // The server is about to close it, and messages sent into it would be lost.
    if (this.#spare) return;
    this.doubted = false;
    this.#onTrusted();
  }

  /** @param {WebSocket} ws @param {number} [within] milliseconds */
  #ping(ws, within = SILENCE) {
    if (!this.send({ type: "ping" })) return;
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      if (ws !== this.#ws || this.#spare) return;
      this.doubted = true;
      void this.#replace();
      this.#onSilent();
    }, within);
  }

  /** @param {WebSocket} ws @param {number} code */
  #closed(ws, code) {
    if (ws === this.#spare) return this.#spareFailed(code);
    if (ws !== this.#ws) return;
    if (this.#spare && (code === 4409 || !(code in AFTER_CLOSE))) {
      // The spare replaces it, or has already replaced it.
      this.#ws = null;
      return;
    }
    if (this.state === "connecting" && !this.#everOpened) this.unopened++;
    // A spare that was given up has opened all the same: no other window has the session.
    const own = code === 4409 && this.#leftover.size > 0;
    this.#drop();
    const rule = own ? undefined : AFTER_CLOSE[code];
    if (rule === "over") this.#session.forget(true);
    if (rule === "never" || rule === "over") return this.#set("ended", code);
    if (rule === "session") this.#session.forget();
    if (rule === "token") {
      this.#session.distrust();
      if (++this.#refused > 2) return this.#set("ended", code);
    }
    this.#again(rule === "slow" ? 30_000 : code === 1013 ? 1500 : 0, code);
  }

  /** @param {number} code */
  #spareFailed(code) {
    const late = this.#spare;
    this.#dropSpare();
    clearTimeout(this.#timer);
    if (this.#ws && this.#spoke) {
      if (late && this.#leftover.has(late)) {
        // The server takes it in place of the one that is in use, if it opens after all.
        late.onopen = () => {
          if (this.#leftover.delete(late)) this.#adopt(late);
        };
      }
      this.doubted = false;
      return this.#onTrusted();
    }
    this.#drop();
    this.#again(0, code);
  }

  /** @param {number} least milliseconds @param {number} code @param {ApiError|null} [error] */
  #again(least, code, error = null) {
    const attempt = ++this.#attempt;
    this.#notBefore = performance.now() + least;
    this.#timer = setTimeout(() => void this.#connect(attempt), this.#backoff.next(least));
    this.#set("waiting", code, error);
  }

  #drop() {
    this.#attempt++;
    this.doubted = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    clearInterval(this.#pinger);
    this.#dropSpare();
    for (const late of this.#leftover) this.#retire(late);
    const ws = this.#ws;
    this.#ws = null;
    if (ws) this.#retire(ws);
  }

  /** @param {SocketState} state @param {number} [code] @param {ApiError|null} [error] */
  #set(state, code = 0, error = null) {
    if (state === this.state && code === 0 && error === null) return;
    this.state = state;
    this.#onState(state, code, error);
  }
}

import { ApiError, request } from "../live/api.js";
import { failure } from "./words.js";

/**
 * @typedef {Object} AccessFacts
 * @property {boolean} known the token is valid
 * @property {string} refused the reason why the token is refused
 * @property {string} problem why the socket does not take it
 */

// Time limit (ms) of a request: stopping waits until the memory is free.
const PATIENCE = 90_000;
// Characters that no token can have, because a header cannot.
const NO_TOKEN = /[^\x21-\x7e]/;

/** The operator's token, and what is sent with it. It is kept in this page's memory only. Uses no DOM. */
export class OperatorAccess {
  /** @type {AccessFacts} */
  facts = { known: false, refused: "", problem: "" };

  #token = "";
  #connected = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #joining;
  #send;
  #session;
  #onChange;
  #onJoin;

  /**
   * @param {{send: (message: import("../live/messages.d.ts").Operator) => boolean, session?: () => string,
   *   onChange: (facts: AccessFacts) => void, onJoin?: (joined: boolean) => void}} hooks
   *   session: the page's session id, so that the process with its socket answers; onJoin: the socket is asked for the
   *   operator's messages, or has closed
   */
  constructor({ send, session = () => "", onChange, onJoin = () => {} }) {
    this.#send = send;
    this.#session = session;
    this.#onChange = onChange;
    this.#onJoin = onJoin;
  }

  /** All secrets here, which no report may contain. @returns {string[]} */
  get secrets() {
    return this.#token ? [this.#token] : [];
  }

  /** @param {string} token */
  async enter(token) {
    const given = token.trim();
    if (!given || NO_TOKEN.test(given)) {
      const why = given ? "It has a space, or a character that no token has: copy it once more." : "Give the token.";
      return this.#set({ refused: why });
    }
    this.#token = given;
    try {
      await this.ask("GET", "/api/operator/sessions");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      // A server without operators has none of their routes.
      if (error.status === 404) this.#token = "";
      return this.#set({ refused: failure(error) });
    }
    this.#set({ known: true, refused: "" });
    this.#join();
  }

  /** @param {boolean} connected the socket is open; each new one needs the operator message */
  connected(connected) {
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (!this.facts.known) return;
    if (connected) this.#join();
    else this.#onJoin(false);
  }

  /**
   * @param {import("../live/messages.d.ts").ServerMessage} message
   * @returns {boolean} true when it was an error about the operator's message
   */
  receive(message) {
    if (message.type !== "error" || message.id !== "operator") return false;
    this.#set({ problem: message.message });
    // Too many requests came from this address.
    if (message.retry_after) this.#join(message.retry_after * 1000);
    return true;
  }

  /**
   * Send a request to the operator's routes.
   * @type {import("./desk.js").Ask}
   */
  ask = async (method, path, body, as) => {
    const id = this.#session();
    const address = id ? `${path}?session=${encodeURIComponent(id)}` : path;
    const timeout = as === "blob" ? 300_000 : PATIENCE;
    try {
      return await request(method, address, { token: this.#token, body, timeout, as });
    } catch (error) {
      // The token has changed on the server, or was wrong: ask for it again.
      if (error instanceof ApiError && error.status === 401) {
        this.#token = "";
        this.#set({ known: false, refused: failure(error) });
      }
      throw error;
    }
  };

  /** @param {number} [wait] milliseconds */
  #join(wait = 0) {
    clearTimeout(this.#joining);
    if (wait) {
      this.#joining = setTimeout(() => this.#join(), wait);
      return;
    }
    this.#onJoin(true);
    this.#send({ type: "operator", token: this.#token });
    this.#set({ problem: "" });
  }

  /** @param {Partial<AccessFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

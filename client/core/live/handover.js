/** @typedef {import("./messages.d.ts").ServerMessage} ServerMessage */

/** Takes the chat along to another session: the server signs it, this page keeps it and brings it. Uses no DOM. */
export class Handover {
  /** True while the server sends this page away: nothing is asked there any more. */
  leaving = false;

  // The newest signed chat with its session and that session's newest token; null before
  /** @type {{text: string, id: string, token: string}|null} */
  #kept = null;
  // True from the start of a new session until it has taken the chat, or refused it
  #due = false;
  #session;
  #socket;
  #asking;
  #onBroken;

  /**
   * @param {{session: import("./session.js").Session, socket: import("./socket.js").ChatSocket,
   *   asking: import("./asking.js").Asking, onBroken: (again: string) => void}} parts
   */
  constructor({ session, socket, asking, onBroken }) {
    this.#session = session;
    this.#socket = socket;
    this.#asking = asking;
    this.#onBroken = onBroken;
    session.onGrant = (id, token) => {
      if (this.#kept?.id === id) this.#kept.token = token;
    };
  }

  /** Another session began. @returns {boolean} true when it can get the chat */
  begin() {
    this.#due = this.#kept !== null;
    return this.#due;
  }

  /** Bring the chat, and ask for hand-overs, before anything else on a socket. */
  opened() {
    this.leaving = false;
    this.bring();
    this.#socket.send({ type: "settings", handover: true });
  }

  /** Bring the chat to the session of the open socket. */
  bring() {
    if (this.#due && this.#kept)
      this.#socket.send({ type: "resume", handover: this.#kept.text, token: this.#kept.token });
  }

  /** Forget the chat, because the person has ended it. */
  forget() {
    this.#kept = null;
    this.#due = this.leaving = false;
  }

  /**
   * Let the server forget an answer, or all; what is kept has it, and comes anew if any is left.
   * @param {string} [id]
   */
  drop(id) {
    this.#kept = null;
    return this.#socket.send({ type: "delete_answer", id });
  }

  /** Keep a question that came too late for the next session. */
  #askAgain() {
    const again = this.#asking.again();
    if (again) this.#onBroken(again);
    return again !== "";
  }

  /** @param {ServerMessage} message @returns {boolean} true when no other part needs it */
  receive(message) {
    const { id, token } = this.#session;
    if (message.type === "handover") {
      // One of a session that has not taken the older chat yet would lose it.
      if (!this.#due && id !== null && token !== null) this.#kept = { text: message.handover, id, token };
    } else if (message.type === "resumed") {
      this.#due = false;
    } else if (message.type === "moved") {
      this.leaving = true;
      this.#session.forget();
      // Without another token the server closes the socket soon: the page comes back.
      this.#session.ensure().catch(() => {});
    } else if (message.type === "error" && message.code === "draining" && message.id && this.#askAgain()) {
      this.leaving = true;
    } else {
      if (message.type === "error" && message.code === "handover_refused") this.forget();
      return false;
    }
    return true;
  }
}

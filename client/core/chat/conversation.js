import { onLanguage, problem, text } from "../words/text.js";

/** @typedef {import("../live/messages.d.ts").ServerMessage} ServerMessage */
/** @typedef {import("../live/messages.d.ts").FrameInfo} FrameInfo */
/** @typedef {import("../live/messages.d.ts").Response} ResponseMessage */

/**
 * One text of a running description.
 * @typedef {Object} Moment
 * @property {number} at capture time of its frame, ms since the epoch
 * @property {string} text
 */

/**
 * One question and its answer, or one running description.
 * @typedef {Object} Turn
 * @property {string} key stays the same for the turn's life
 * @property {string} id of its newest message; a description has many
 * @property {"chat"|"describe"} kind
 * @property {boolean} notable it is about what matters alone
 * @property {string} question
 * @property {"auto"|"low"|"high"} detail
 * @property {boolean} spoken the question was spoken; its words are the server's
 * @property {boolean} correctable its words may be corrected now: it is the last question, and a spoken one
 * @property {boolean} anew its words were corrected, and the server has not begun with them
 * @property {"hearing"|"waiting"|"sent"|"delayed"|"thinking"|"answering"|"done"|"failed"} state
 * hearing: it is still spoken; waiting: not sent yet, without a connection or a camera; delayed: the server has it, but
 * no fresh picture
 * @property {string} text
 * @property {string} thoughts the model's reasoning before its answer
 * @property {FrameInfo|null} frame
 * @property {import("../live/messages.d.ts").EarlierFrame[]} frames those of the past that the running question looks
 *   at
 * @property {import("../page/routes.js").Route} [wish] where to look, if the user chose it
 * @property {boolean} reads it reads a text on over several pictures
 * @property {ResponseMessage|null} response null until the answer is complete
 * @property {number} at when its newest answer came, ms since the epoch; 0: none has
 * @property {import("../live/messages.d.ts").ModelComing|null} meanwhile the model on its way, in whose place the
 *   built-in engine answered
 * @property {boolean} news the first answer of a model after those of the built-in engine
 * @property {boolean} resent sent again after its socket was lost; the first one's end is ignored
 * @property {string} problem the error for the user in the page's language; "" for none
 * @property {{code: string, words: string}} [cause] of the problem, for another language; see `problem`
 * @property {boolean} retryable
 * @property {Moment[]} earlier what a running description said before, newest first
 * @property {number} looked when its last text was found to hold still, ms since the epoch; 0: not since it came
 */

/**
 * A question of another program. It stands among the turns and is none: nothing of it goes into the person's chat.
 * @typedef {Object} Aside
 * @property {string} after key of the turn above it; "" for none
 * @property {string} by name of the program
 * @property {string} title who asked what
 * @property {string} text the answer, or why there is none
 * @property {number} at ms since the epoch
 * @property {string} picture a JPEG data URL, "" without one
 */

// Older turns are removed; each has a thumbnail of up to 24 KiB.
const MAX_TURNS = 100;
const MAX_EARLIER = 300;

/** @param {boolean} notable */
function describes(notable) {
  return text(notable ? "chat.noticing" : "chat.describing");
}

/** @param {Turn} turn */
export function finished(turn) {
  return turn.state === "done" || turn.state === "failed";
}

/** A problem in the page's language, with its cause. @param {Turn["cause"]} [cause] */
function told(cause) {
  return { cause, problem: cause ? problem(cause.code, cause.words) : "" };
}

/** The words of a question, which may be spoken just now. @param {Turn} turn */
export function asking({ question, state }) {
  return question || (state === "hearing" ? text("chat.listening") : "");
}

/** The questions and answers of this page. */
export class Conversation {
  /** @type {Turn[]} oldest first */
  turns = [];
  /** The model on its way. @type {Turn["meanwhile"]} */
  coming = null;
  // Of the next description
  notable = false;

  #onTurn;
  #onGone;
  #keys = 0;

  /** @param {{onTurn: (turn: Turn) => void, onGone: (turn: Turn) => void}} hooks */
  constructor({ onTurn, onGone }) {
    this.#onTurn = onTurn;
    this.#onGone = onGone;
    // Before the views draw them again.
    onLanguage(() => {
      for (const turn of this.turns) {
        if (turn.problem) Object.assign(turn, told(turn.cause));
        if (turn.kind === "describe") turn.question = describes(turn.notable);
      }
    });
  }

  /** @returns {Turn|null} the oldest one that has no end yet */
  get open() {
    return this.turns.find((turn) => !finished(turn)) ?? null;
  }

  /** @returns {Turn|null} the newest question that has no end yet */
  get running() {
    return this.turns.findLast((turn) => turn.kind === "chat" && !finished(turn)) ?? null;
  }

  /**
   * @param {string} id
   * @param {string} question
   * @param {Turn["detail"]} detail
   * @param {boolean} sent
   * @param {Turn["wish"]} [wish]
   */
  ask(id, question, detail, sent, wish) {
    return this.#add({ id, kind: "chat", question, detail, wish, state: sent ? "sent" : "waiting" });
  }

  /** @param {string} id */
  sent(id) {
    const turn = this.byId(id);
    if (turn?.state === "waiting") this.#change(turn, { state: "sent" });
  }

  /** Replace a transcribed question. @param {Turn} turn @param {string} question */
  correct(turn, question) {
    const { state, text, thoughts, response, problem, frame } = blank();
    this.#change(turn, { question, state, text, thoughts, response, problem, frame, frames: [], anew: true });
  }

  /** @param {import("../live/messages.d.ts").Transcript} heard */
  #heard({ id, text, final }) {
    const turn = this.byId(id);
    const state = final ? "sent" : "hearing";
    if (!turn) {
      if (text) this.#add({ id, question: text, state, spoken: true, correctable: final });
    } else if (final && !text) this.#remove(turn);
    else if (turn.state === "hearing") this.#change(turn, { question: text, state, correctable: final });
  }

  /** Note that the user cancelled it; it ends with the server's message. @param {Turn} turn */
  cancelling(turn) {
    turn.resent = false;
  }

  /**
   * End it.
   * @param {string} id
   * @param {string} words the problem, see `problem`
   * @param {boolean} [retryable]
   * @param {string} [code] the server's of the problem
   */
  end(id, words, retryable = true, code = "") {
    const turn = this.byId(id);
    if (turn && !finished(turn)) this.#change(turn, { state: "failed", ...told({ code, words }), retryable });
  }

  /**
   * End the sent questions after a lost connection.
   * @param {string} words the problem, see `problem`
   * @param {string} [again] id of the one that is sent again
   */
  interrupt(words, again = "") {
    for (const turn of this.turns) {
      if (finished(turn) || turn.state === "waiting") continue;
      if (again && turn.id === again) this.#change(turn, { state: "waiting", text: "", thoughts: "", resent: true });
      else if (turn.kind === "describe") this.endDescription();
      else this.#change(turn, { state: "failed", ...told({ code: "", words }), retryable: true });
    }
  }

  /** End the running description; the next one is a new turn. */
  endDescription() {
    const turn = this.#description();
    if (!turn) return;
    if (!turn.response) this.#remove(turn);
    else this.#change(turn, { state: "done", text: turn.response.text }); // no half sentence stays
  }

  /** @param {ServerMessage & {english?: string}} message english: an error's words as the server said them */
  receive(message) {
    if ("id" in message && message.id && this.#outdated(message.type, message.id, message)) return;
    if (message.type === "transcript") this.#heard(message);
    else if (message.type === "waiting") {
      const turn = this.byId(message.id);
      if (turn?.state === "sent") this.#change(turn, { state: "delayed" });
    } else if (message.type === "started") {
      const turn = message.kind === "describe" ? this.#describing(message.id) : this.byId(message.id);
      if (!turn || finished(turn)) return;
      const frame = turn.kind === "describe" && turn.response ? turn.frame : message.frame;
      this.#change(turn, {
        state: "thinking",
        frame,
        frames: message.frames ?? [],
        thoughts: "",
        reads: message.route === "read",
        resent: false,
        anew: false,
      });
    } else if (message.type === "thinking") {
      const turn = this.byId(message.id);
      if (turn && !finished(turn)) this.#change(turn, { thoughts: turn.thoughts + message.text });
    } else if (message.type === "delta") {
      const turn = this.byId(message.id);
      if (!turn || finished(turn)) return;
      // Keep a description's last text and picture until the new ones are complete.
      if (turn.kind === "describe" && turn.response) return;
      const text = turn.state === "answering" ? turn.text + message.text : message.text;
      this.#change(turn, { state: "answering", text });
    } else if (message.type === "response") {
      if (message.kind === "describe") this.#described(message);
      else this.#answered(message);
    } else if (message.type === "unchanged") {
      const turn = this.#description();
      if (turn?.response?.id === message.id) this.#change(turn, { looked: message.looked_at, problem: "" });
    } else if (message.type === "error" && message.id) {
      const turn = this.byId(message.id);
      const { code, english: words = message.message } = message;
      if (turn?.kind === "describe") this.#change(turn, told({ code, words }));
      else this.end(message.id, words, message.retryable, code);
    }
  }

  /**
   * True for a message about the words that were corrected since.
   * @param {string} type @param {string} id @param {ServerMessage} message
   */
  #outdated(type, id, message) {
    if (!this.byId(id)?.anew) return false;
    const stopped = message.type === "response" && message.finish_reason === "cancelled";
    return ["delta", "thinking", "response", "transcript"].includes(type) && !stopped;
  }

  /** @param {ResponseMessage} message */
  #answered(message) {
    const turn = this.byId(message.id);
    if (!turn || finished(turn)) return;
    if (turn.resent && message.finish_reason === "cancelled") return;
    this.#change(turn, {
      state: "done",
      text: message.text,
      thoughts: message.thinking ?? "",
      frame: message.frame ?? turn.frame,
      response: message,
      at: Date.now(),
      meanwhile: message.engine === "builtin" ? this.coming : null,
    });
  }

  /** Say so with the first answer of a model. @param {Turn} turn */
  isNews(turn) {
    this.#change(turn, { news: true });
  }

  /** @param {ResponseMessage} message */
  #described(message) {
    const whole = message.finish_reason === "stop" || message.finish_reason === "length";
    const turn = this.byId(message.id) ?? (whole ? this.#describing(message.id) : null);
    if (!turn || turn.state === "done" || !whole) return;
    this.#change(turn, {
      state: "thinking",
      text: message.text,
      frame: message.frame ?? turn.frame,
      response: message,
      at: Date.now(),
      looked: 0,
      problem: "",
    });
  }

  #description() {
    return this.turns.findLast((turn) => turn.kind === "describe" && turn.state !== "done") ?? null;
  }

  /** Continue the running description with this message, or begin one. @param {string} id */
  #describing(id) {
    const turn =
      this.#description() ??
      this.#add({ id, kind: "describe", notable: this.notable, question: describes(this.notable), state: "thinking" });
    if (turn.id !== id) {
      const text = turn.response?.text ?? "";
      const at = turn.frame?.captured_at ?? 0;
      if (text && at !== turn.earlier[0]?.at) turn.earlier = [{ at, text }, ...turn.earlier].slice(0, MAX_EARLIER);
      turn.id = id;
    }
    return turn;
  }

  /** @param {Partial<Turn> & {id: string}} some */
  #add(some) {
    /** @type {Turn} */
    const turn = { key: `turn-${++this.#keys}`, ...blank(), ...some };
    if (turn.kind === "chat") {
      const before = this.turns.find((other) => other.correctable);
      if (before) this.#change(before, { correctable: false });
    }
    this.turns.push(turn);
    if (this.turns.length > MAX_TURNS) this.#remove(this.turns[0]);
    this.#onTurn(turn);
    return turn;
  }

  /** Delete turns that the person wants to be gone. @param {Turn[]} turns */
  forget(turns) {
    for (const turn of turns) this.#remove(turn);
  }

  /** @param {Turn} turn */
  #remove(turn) {
    this.turns = this.turns.filter((other) => other !== turn);
    this.#onGone(turn);
  }

  /** @param {string} id @returns {Turn|null} the newest of that id */
  byId(id) {
    return this.turns.findLast((turn) => turn.id === id) ?? null;
  }

  /** @param {Turn} turn @param {Partial<Turn>} change */
  #change(turn, change) {
    Object.assign(turn, change);
    this.#onTurn(turn);
  }
}

/** A program's question in the form of a turn, to be kept with the others. @param {Aside} aside @returns {Turn} */
export function asTurn({ title, text }) {
  return { key: "", id: "", ...blank(), state: "done", question: title, text };
}

/** @returns {Omit<Turn, "key"|"id">} a question that was sent, and nothing of its answer */
function blank() {
  return {
    kind: "chat",
    notable: false,
    question: "",
    spoken: false,
    correctable: false,
    anew: false,
    detail: "auto",
    state: "sent",
    text: "",
    thoughts: "",
    frame: null,
    frames: [],
    reads: false,
    response: null,
    at: 0,
    meanwhile: null,
    news: false,
    resent: false,
    problem: "",
    retryable: false,
    earlier: [],
    looked: 0,
  };
}

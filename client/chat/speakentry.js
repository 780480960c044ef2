import { byId } from "../page/dom.js";
import { Part } from "../page/part.js";
import { keepSpeakWish, speakWish } from "../page/resume.js";
import { languageOfTurn } from "./chatview.js";
import { SpokenMark } from "./spokenmark.js";

/** @typedef {import("../live/messages.js").ServerMessage} ServerMessage */

/**
 * The part that speaks, as far as this module knows it.
 * @typedef {Object} Spoken
 * @property {string} id
 * @property {(track: MediaStreamTrack|null) => void} play
 * @property {(open: boolean, ready: import("../live/messages.js").Ready|null) => void} connected
 * @property {() => void} off
 * @property {(tell?: boolean) => boolean} hush
 * @property {(message: ServerMessage) => boolean} receive
 */

/** The button for spoken answers, and the way to the part that speaks, which loads with the first wish. */
export class SpeakEntry {
  button = byId("speak", HTMLButtonElement);
  marks = new SpokenMark();

  /** @type {Part<Spoken>} */
  #part;
  #wanted = speakWish();
  /** @type {MediaStreamTrack|null} */
  #track = null;
  /** @type {Parameters<Spoken["connected"]>} */
  #connection = [false, null];
  #chat;
  #conversation;
  #send;

  /**
   * @param {{address: URL, load: () => Promise<Spoken>, onMissing: (again: () => void) => void}} part see `Part`
   * @param {Object} page
   * @param {import("./conversation.js").Conversation} page.conversation
   * @param {import("./chatview.js").ChatView} page.chat
   * @param {import("./speech.js").Speech} page.speech
   * @param {(message: import("../live/messages.js").ClientMessage) => boolean} page.send
   * @param {() => void} page.onChange an answer began to be spoken, or ended
   */
  constructor(part, { conversation, chat, speech, send, onChange }) {
    this.#part = new Part(part);
    this.#chat = chat;
    this.#conversation = conversation;
    this.#send = send;
    /** @param {string} id */
    const language = (id) => {
      const turn = conversation.byId(id);
      return turn ? languageOfTurn(turn) : "";
    };
    // What the part needs
    this.hooks = {
      send,
      speech,
      language,
      onChange,
      mark: (/** @type {string} */ id, /** @type {number} */ start, /** @type {number} */ end) =>
        this.marks.mark(conversation.byId(id)?.key ?? "", start, end),
      readWhole: (/** @type {string} */ id) => speech.queue(id, conversation.byId(id)?.text ?? "", language(id)),
    };
    this.button.addEventListener("click", () => void this.want(!this.#wanted));
    this.#render();
    if (this.#wanted) void this.#part.ahead().then(() => this.#begin());
  }

  /** True while an answer is spoken. */
  get speaking() {
    return Boolean(this.#part.here?.id);
  }

  /**
   * Speak a short remark of the page, if the user wants to hear them.
   * @param {string} text @param {boolean} [matters] it waits for the end of an answer; else it is dropped meanwhile
   * @returns {boolean} false when nobody hears it now or later
   */
  say(text, matters = false) {
    if (!this.#wanted || !this.hooks.speech.supported || (this.speaking && !this.hooks.speech.busy)) return false;
    this.hooks.speech.remark(text, matters);
    return true;
  }

  /** @param {boolean} wanted */
  async want(wanted) {
    this.#wanted = wanted;
    keepSpeakWish(wanted);
    this.#render();
    if (!wanted) return this.#part.here?.off();
    await this.#part.open(this.button);
    this.#begin();
  }

  /** Be silent at once. @returns {boolean} true when something was spoken */
  hush() {
    return this.#part.here?.hush() ?? false;
  }

  /** Ask a spoken question with the right words. @param {import("./conversation.js").Turn} turn @param {string} text */
  correct(turn, text) {
    if (!this.#send({ type: "correct", id: turn.id, text })) return this.#chat.note("There is no connection. Try again.");
    // The server stops the answer itself; cancelling its id would stop the new one.
    this.#part.here?.hush(false);
    this.#conversation.correct(turn, text);
  }

  /** @param {MediaStreamTrack} track on which the server speaks */
  play(track) {
    this.#track = track;
    if (this.#wanted) this.#part.here?.play(track);
  }

  /** @param {boolean} open the socket is @param {import("../live/messages.js").Ready|null} ready */
  connected(open, ready) {
    this.#connection = [open, ready];
    const host = ready?.voice_elsewhere;
    this.button.title = host ? `Speak the answers; their words go to ${host}` : "Speak the answers";
    if (this.#wanted) this.#part.here?.connected(open, ready);
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about speech */
  receive(message) {
    return (this.#wanted && this.#part.here?.receive(message)) || message.type === "say" || message.type === "speaking";
  }

  #begin() {
    if (!this.#wanted || !this.#part.here) return;
    this.#part.here.play(this.#track);
    this.#part.here.connected(...this.#connection);
  }

  #render() {
    this.button.setAttribute("aria-pressed", String(this.#wanted));
    this.#chat.spoken = this.#wanted;
  }
}

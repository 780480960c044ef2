import { byId } from "../page/dom.js";
import { Part } from "../page/part.js";
import { keepSpeakWish, speakWish } from "../page/resume.js";
import { onSettings, settings } from "../page/settings.js";
import { languageOfTurn } from "./chatview.js";
import { SpokenMark } from "./speech.js";
import { text } from "../words/text.js";

/** @typedef {import("../live/messages.js").ServerMessage} ServerMessage */
/** @typedef {import("../live/facts.js").Facts} Facts */

/**
 * The part that speaks, as far as this module knows it.
 * @typedef {Object} Spoken
 * @property {string} id
 * @property {(track: MediaStreamTrack|null) => void} play
 * @property {(facts: Facts) => void} render
 * @property {(thinking: boolean) => void} thinking a question is on its way, and no word of its answer is there
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
  /** @type {Facts|null} */
  #facts = null;
  #open = false;
  #chat;
  #conversation;
  #speech;
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
    this.#speech = speech;
    this.#send = send;
    /** @param {string} id */
    const language = (id) => {
      const turn = conversation.byId(id);
      return turn ? languageOfTurn(turn) : "";
    };
    // For the part
    this.hooks = {
      send,
      speech,
      language,
      onChange,
      mark: (/** @type {string} */ id, /** @type {number} */ start, /** @type {number} */ end) =>
        this.marks.mark(conversation.byId(id)?.key ?? "", start, end),
      verbosity: () => settings().verbosity,
      tones: () => settings().tones,
      say: (/** @type {string} */ text) => this.say(text, true),
      readWhole: (/** @type {string} */ id) => {
        const turn = conversation.byId(id);
        speech.queue(id, turn ? chat.words(turn) : "", language(id));
      },
    };
    this.button.addEventListener("click", () => void this.want(!this.#wanted));
    onSettings(({ verbosity }, before) => {
      if (verbosity !== before.verbosity) send({ type: "settings", verbosity });
    });
    this.#render();
    if (this.#wanted) void this.#part.ahead().then(() => this.#begin());
  }

  get wanted() {
    return this.#wanted;
  }

  /** True while an answer is spoken. */
  get speaking() {
    return Boolean(this.#part.here?.id);
  }

  /**
   * Speak a short remark of the page, if the user wants to hear them.
   * @param {string} text @param {boolean} [matters] it waits for the end of an answer; else it is dropped meanwhile
   * @param {boolean} [between] nothing is heard of the answer now: more of it is to come
   * @returns {boolean} false when nobody hears it now or later
   */
  say(text, matters = false, between = false) {
    if (!this.#wanted || !this.hooks.speech.supported) return false;
    if (this.speaking && !this.hooks.speech.busy && !between) return false;
    this.hooks.speech.remark(text, matters);
    return true;
  }

  /** @param {boolean} wanted */
  async want(wanted) {
    this.#wanted = wanted;
    keepSpeakWish(wanted);
    this.#render();
    this.hooks.onChange();
    if (!wanted) return this.#part.here?.off();
    await this.#part.open(this.button);
    this.#begin();
  }

  /** Be silent at once. @returns {boolean} true when something was spoken */
  hush() {
    return this.#part.here?.hush() ?? false;
  }

  /** Ask a spoken question with the right words. @param {import("./conversation.js").Turn} turn @param {string} words */
  correct(turn, words) {
    if (!this.#send({ type: "correct_transcript", id: turn.id, text: words })) return this.#chat.note(text("chat.no_connection"));
    // The server stops the answer itself; cancelling its id would stop the new one.
    this.#part.here?.hush(false);
    this.#conversation.correct(turn, words);
  }

  /** Read the newest answer once more: somebody has asked for it. */
  again() {
    const turn = this.#conversation.turns.findLast(({ response, text }) => response !== null && text !== "");
    if (!turn) return;
    if (!this.#speech.supported) return this.#chat.announce(turn.text);
    this.#speech.stop();
    this.#speech.queue(turn.key, turn.text, languageOfTurn(turn));
  }

  /** @param {MediaStreamTrack} track on which the server speaks */
  play(track) {
    this.#track = track;
    if (this.#wanted) this.#part.here?.play(track);
  }

  /** @param {Facts} facts */
  render(facts) {
    this.#facts = facts;
    const open = facts.socket === "open";
    if (open && !this.#open) this.#send({ type: "settings", verbosity: settings().verbosity });
    this.#open = open;
    const host = facts.ready?.voice_elsewhere;
    this.button.title = host ? text("chat.speak_to", { host }) : text("chat.speak");
    if (this.#wanted) this.#part.here?.render(facts);
  }

  /** @param {import("./conversation.js").Turn|null} running */
  running(running) {
    const thinking = running !== null && ["sent", "delayed", "thinking"].includes(running.state);
    if (this.#wanted) this.#part.here?.thinking(thinking);
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about speech */
  receive(message) {
    return (this.#wanted && this.#part.here?.receive(message)) || message.type === "say" || message.type === "speaking";
  }

  #begin() {
    if (!this.#wanted || !this.#part.here) return;
    this.#part.here.play(this.#track);
    if (this.#facts) this.#part.here.render(this.#facts);
  }

  #render() {
    this.button.setAttribute("aria-pressed", String(this.#wanted));
    this.#chat.spoken = this.#wanted;
    this.#chat.say = (text, matters) => (matters || settings().verbosity !== "short") && this.say(text, matters);
  }
}

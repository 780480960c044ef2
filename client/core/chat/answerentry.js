import { byId } from "../page/dom.js";

/** @typedef {import("./conversation.js").Turn} Turn */
/** @template {{open?: () => void}} T @typedef {import("../page/part.js").Part<T>} Part */

/**
 * The part that shows answers with their marks, as far as this module knows it.
 * @typedef {import("./chatview.js").RichText & {range: (text: Element, start: number, end: number) => Range|null,
 * see: (turn: Turn, turns: Turn[]) => void, keep: (turns: Turn[], asides: import("./conversation.js").Aside[]) => void,
 *   speaking: (key: string|null) => void}} Answers
 */

/** The answers' part; loads it. */
export class AnswerEntry {
  /** @type {Part<Answers>} */
  #part;
  /** @type {import("./chatview.js").ChatView|null} */
  #chat = null;
  /** @type {import("./speech.js").SpokenMark|null} */
  #marks = null;
  #conversation;

  /** @type {Pick<import("./chatview.js").ChatActions, "marked"|"see">} */
  actions;

  /**
   * @param {Part<Answers>} part
   * @param {Object} page
   * @param {import("./conversation.js").Conversation} page.conversation
   * @param {() => string|undefined} page.engine that answers now
   * @param {() => {asides: import("./conversation.js").Aside[]}|null} page.others questions of
   *   other programs among the answers
   */
  constructor(part, { conversation, engine, others }) {
    this.#conversation = conversation;
    this.#part = part;
    this.actions = {
      see: (turn, picture) => void this.#with(picture, (answers) => answers.see(turn, conversation.turns)),
      // The built-in engine writes no marks: those in its texts were read.
      marked: (/** @type {Turn} */ turn) => !turn.reads && (turn.response?.engine ?? engine()) !== "builtin",
    };
    const keep = byId("keep", HTMLButtonElement);
    keep.addEventListener(
      "click",
      () => void this.#with(keep, (answers) => answers.keep(conversation.turns, others()?.asides ?? [])),
    );
  }

  /** @param {import("./chatview.js").ChatView} chat @param {import("./speech.js").SpokenMark} marks */
  join(chat, marks) {
    this.#chat = chat;
    this.#marks = marks;
  }

  /** @param {string|null} key of the turn that the voice is reading */
  speaking(key) {
    this.#part.here?.speaking(key);
  }

  /** Load the part, because an answer will come. */
  async ahead() {
    await this.#part.ahead();
    this.#enrich();
  }

  #enrich() {
    const answers = this.#part.here;
    if (!answers || !this.#marks || this.#marks.range) return;
    this.#marks.range = (text, start, end) => answers.range(text, start, end);
    this.#chat?.enrich(answers, this.#conversation.turns);
  }

  /**
   * Do something with the part, once it is here.
   * @param {HTMLElement} opener
   * @param {(answers: Answers) => void} does
   */
  async #with(opener, does) {
    await this.#part.open(opener);
    this.#enrich();
    if (this.#part.here) does(this.#part.here);
  }
}

import { byId } from "../page/dom.js";
import { clock, text } from "../words/text.js";
import { languageOfTurn } from "./chatview.js";

/** @typedef {import("./conversation.js").Turn} Turn */
/** @template {{open?: () => void}} T @typedef {import("../page/part.js").Part<T>} Part */

/**
 * The part that shows answers with their marks, as far as this module knows it.
 * @typedef {import("./chatview.js").RichText & {range: (text: Element, start: number, end: number) => Range|null,
 * see: (turn: Turn, turns: Turn[]) => void, keep: (turns: Turn[], asides: import("./conversation.js").Aside[]) => void,
 *   share: (turn: Turn, words: string) => Promise<void>, save: (turn: Turn) => Promise<string>}} Answers
 */

// Milliseconds for which a button says that it has copied
const COPIED = 2000;

/** The actions on answers; loads the part that does most of them. */
export class AnswerEntry {
  /** @type {Part<Answers>} */
  #part;
  /** @type {import("./chatview.js").ChatView|null} */
  #chat = null;
  /** @type {import("./speech.js").SpokenMark|null} */
  #marks = null;
  #conversation;
  #drop;

  /** @type {Pick<import("./chatview.js").ChatActions, "copy"|"share"|"save"|"speak"|"marked"|"see"|"remove">} */
  actions;

  /**
   * @param {Part<Answers>} part
   * @param {Object} page
   * @param {import("./conversation.js").Conversation} page.conversation
   * @param {import("./speech.js").Speech} page.speech
   * @param {() => string|undefined} page.engine that answers now
   * @param {() => {asides: import("./conversation.js").Aside[]}|null} page.others questions of
   *   other programs among the answers
   * @param {(id?: string) => boolean} page.drop let the server forget an answer, or all; false without a connection
   */
  constructor(part, { conversation, speech, engine, drop, others, deleted }) {
    this.#drop = drop;
    this.#conversation = conversation;
    this.#part = part;
    this.actions = {
      copy: navigator.clipboard ? (turn) => void this.#copy(turn) : null,
      share: "share" in navigator ? (turn) => void this.#share(turn) : null,
      save: (turn) =>
        void this.#with(byId("log", HTMLElement), async (answers) => this.#chat?.announce(await answers.save(turn))),
      speak: speech.supported ? (turn) => speech.toggle(turn.key, this.#words(turn), languageOfTurn(turn)) : null,
      see: (turn, picture) => void this.#with(picture, (answers) => answers.see(turn, conversation.turns)),
      remove: (turn) => this.#delete([turn], turn.id),
      // The built-in engine writes no marks: those in its texts were read.
      marked: (/** @type {Turn} */ turn) => !turn.reads && (turn.response?.engine ?? engine()) !== "builtin",
    };
    // For the part
    this.hooks = {
      marked: this.actions.marked,
      deleteAll: () => [deleted(), this.#delete([...conversation.turns])],
    };
    const keep = byId("keep", HTMLButtonElement);
    keep.addEventListener(
      "click",
      () => void this.#with(keep, (answers) => answers.keep(conversation.turns, others()?.asides ?? [])),
    );
  }

  /** @param {Turn[]} turns @param {string} [id] of the only one */
  #delete(turns, id) {
    this.#conversation.forget(turns);
    const told = this.#drop(id);
    const gone = text(id === undefined ? "chat.all_deleted" : "chat.deleted");
    this.#chat?.announce(told ? gone : `${gone} ${text("chat.deleted_later")}`);
  }

  /** @param {import("./chatview.js").ChatView} chat @param {import("./speech.js").SpokenMark} marks */
  join(chat, marks) {
    this.#chat = chat;
    this.#marks = marks;
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

  /** @param {Turn} turn */
  async #copy(turn) {
    let said = text("page.copied");
    try {
      await navigator.clipboard.writeText(wordsOf(turn, this.#words(turn)));
    } catch {
      said = text("chat.copy_refused");
    }
    this.#chat?.announce(said);
    const words = document.getElementById(turn.key)?.querySelector(".copy")?.lastChild;
    if (!words) return;
    words.nodeValue = said;
    setTimeout(() => (words.nodeValue = text("page.copy")), COPIED);
  }

  /** @param {Turn} turn */
  async #share(turn) {
    try {
      const [words, answers] = [wordsOf(turn, this.#words(turn)), this.#part.here];
      await (answers ? answers.share(turn, words) : navigator.share({ text: words }));
    } catch {
      // The user closed the dialog without sharing.
    }
  }

  /** @param {Turn} turn */
  #words(turn) {
    return this.#chat?.words(turn) ?? turn.text;
  }
}

/**
 * The words of a turn to copy or share: of a description all that it said, with times.
 * @param {Turn} turn
 * @param {string} [text] without marks
 */
function wordsOf(turn, text = turn.text) {
  if (turn.kind !== "describe" || turn.earlier.length === 0) return text;
  const moments = [{ at: turn.frame?.captured_at ?? 0, text: turn.text }, ...turn.earlier];
  return moments
    .reverse()
    .map(({ at, text }) => `${clock(at)} ${text}`)
    .join("\n");
}

import { languageOfTurn } from "../chat/chatview.js";
import { byId, show } from "../page/dom.js";
import { settings } from "../page/settings.js";
import { clock, text } from "../words/text.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */

// Milliseconds for which a button says that it has copied
const COPIED = 2000;

/**
 * @typedef {Object} MenuHooks
 * @property {import("../chat/conversation.js").Conversation} conversation
 * @property {import("../chat/speech.js").Speech} speech
 * @property {(id?: string) => boolean} drop let the server forget an answer, or all; false without a connection
 * @property {(turn: Turn, words: string) => Promise<void>} share
 * @property {(turn: Turn) => Promise<string>} save returns how it went
 */

/** What can be done with an answer: at most six entries in one group, of which Delete is the last. */
export class Menu {
  #view;
  #hooks;

  /** @param {import("../chat/chatview.js").ChatView} view @param {MenuHooks} hooks */
  constructor(view, hooks) {
    this.#view = view;
    this.#hooks = hooks;
  }

  /** @param {HTMLDetailsElement} proof what lies behind an answer's points @param {Turn} turn */
  fill(proof, turn) {
    if (!proof.querySelector(".acts")) this.#make(proof, turn);
    const whole = turn.response !== null && turn.text !== "";
    const share = "share" in navigator;
    const { supported } = this.#hooks.speech;
    const offered = { copy: "clipboard" in navigator, share, save: !share, speak: supported };
    for (const [name, is] of Object.entries(offered)) show(part(proof, `.${name}`), whole && is);
  }

  /** @param {HTMLDetailsElement} proof @param {Turn} turn */
  #make(proof, turn) {
    proof.prepend(byId("evidence-template", HTMLTemplateElement).content.cloneNode(true));
    const press = (/** @type {string} */ name, /** @type {() => unknown} */ does) =>
      part(proof, name).addEventListener("click", () => void does());
    press(".copy", () => this.#copy(turn, part(proof, ".copy")));
    press(".share", () => this.#share(turn));
    press(".save", async () => this.#view.announce(await this.#hooks.save(turn)));
    press(".speak", () => this.#hooks.speech.toggle(turn.key, this.#view.words(turn), languageOfTurn(turn)));
    press(".delete", () => this.remove([turn], turn.id));
    for (const fold of /** @type {NodeListOf<HTMLDetailsElement>} */ (proof.querySelectorAll("details"))) {
      fold.addEventListener("toggle", () => {
        if (!fold.open || proof.hidden) return;
        fold.scrollIntoView({ block: fold.offsetHeight <= this.#view.log.clientHeight ? "end" : "start" });
      });
    }
    const { details } = settings();
    proof.open = /** @type {HTMLDetailsElement} */ (part(proof, ".figures")).open = details;
  }

  /** @param {string|null} key of the turn that the voice is reading */
  speaking(key) {
    for (const button of this.#view.log.querySelectorAll(".speak")) {
      const speaking = button.closest(".turn")?.id === key;
      button.setAttribute("aria-pressed", String(speaking));
      button.setAttribute("title", text(speaking ? "chat.stop_reading" : "chat.read_aloud"));
    }
  }

  /** @param {Turn[]} turns @param {string} [id] of the only one */
  remove(turns, id) {
    this.#hooks.conversation.forget(turns);
    const told = this.#hooks.drop(id);
    const gone = text(id === undefined ? "chat.all_deleted" : "chat.deleted");
    this.#view.announce(told ? gone : `${gone} ${text("chat.deleted_later")}`);
  }

  /** @param {Turn} turn @param {HTMLElement} button */
  async #copy(turn, button) {
    let said = text("page.copied");
    try {
      await navigator.clipboard.writeText(wordsOf(turn, this.#view.words(turn)));
    } catch {
      said = text("chat.copy_refused");
    }
    this.#view.announce(said);
    const words = button.lastChild;
    if (!words) return;
    words.nodeValue = said;
    setTimeout(() => (words.nodeValue = text("page.copy")), COPIED);
  }

  /** @param {Turn} turn */
  async #share(turn) {
    try {
      await this.#hooks.share(turn, wordsOf(turn, this.#view.words(turn)));
    } catch {
      // The user closed the dialog without sharing.
    }
  }
}

/** @param {HTMLElement} proof @param {string} selector @returns {HTMLElement} */
function part(proof, selector) {
  const found = proof.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`The template has no ${selector}.`);
  return found;
}

/**
 * The words of a turn to copy or share: of a description all that it said, with times.
 * @param {Turn} turn
 * @param {string} text without marks
 */
function wordsOf(turn, text) {
  if (turn.kind !== "describe" || turn.earlier.length === 0) return text;
  const moments = [{ at: turn.frame?.captured_at ?? 0, text: turn.text }, ...turn.earlier];
  return moments
    .reverse()
    .map(({ at, text }) => `${clock(at)} ${text}`)
    .join("\n");
}

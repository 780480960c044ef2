import { made, say } from "../page/dom.js";
import { text } from "../words/text.js";

/** @typedef {import("../chat/conversation.js").Turn} Turn */

// Milliseconds without a word or a thought: before the first one, and after any other
const FIRST = 3000;
const NEXT = 5000;
// Announce a pending answer to screen readers after this time (ms).
const THINKS_LONG = 4000;

/** A line in the running question's turn while its model sends nothing. */
export class SlowModelLine {
  #view;
  #byModel;
  #line = made("p", { className: "slow" });
  // Id of its words
  #words = "";
  // Of the running turn; "" for none
  #key = "";
  // The words and thoughts so far
  #came = "";
  // Ids of the words already announced
  #announced = new Set();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {import("../chat/chatview.js").ChatView} view @param {(turn: Turn) => boolean} byModel */
  constructor(view, byModel) {
    this.#view = view;
    this.#byModel = byModel;
  }

  /** Follow a turn that was drawn. @param {HTMLElement} article @param {Turn} turn */
  update(article, turn) {
    const { key, kind, state, text: words, thoughts } = turn;
    const runs = kind === "chat" && (state === "thinking" || state === "answering");
    if (!runs && key !== this.#key) return;
    if (key !== this.#key) {
      this.#announced.clear();
      setTimeout(() => {
        if (turn.state === "thinking" && !article.contains(this.#line)) this.#announce("chat.thinking");
      }, THINKS_LONG);
    }
    this.#key = runs ? key : "";
    const came = runs ? `${key} ${words.length} ${thoughts.length}` : "";
    // Perhaps in another language
    if (came === this.#came) return say(this.#line, text(this.#words));
    this.#came = came;
    this.#line.remove();
    clearTimeout(this.#timer);
    if (!runs) return;
    const begun = words !== "" || thoughts !== "";
    this.#timer = setTimeout(
      () => {
        if (!article.isConnected || !this.#byModel(turn)) return;
        this.#words = begun ? "answer.model_pauses" : "answer.model_busy";
        say(this.#line, text(this.#words));
        article.querySelector(".text")?.after(this.#line);
        this.#announce(this.#words);
      },
      begun ? NEXT : FIRST,
    );
  }

  /** Have a screen reader say words, once in a turn. @param {string} id */
  #announce(id) {
    if (this.#announced.has(id) || this.#view.spoken) return;
    this.#announced.add(id);
    this.#view.announce(text(id));
  }
}

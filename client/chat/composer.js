import { byId, say, show } from "../page/dom.js";
import { conditionIn } from "./condition.js";
import { draft } from "./draft.js";
import { onLanguage, plural, text } from "../words/text.js";

// With this the style sheet resizes the box, without a layout per key.
const GROWS_ITSELF = CSS.supports("field-sizing", "content");
// The counter appears when at most this many characters are left.
const COUNT_FROM = 300;

/** The box in which a question is typed. Knows no connection. */
export class Composer {
  box = byId("question", HTMLTextAreaElement);
  cancel = byId("cancel", HTMLButtonElement);
  watch = byId("watch", HTMLButtonElement);

  #form = byId("composer", HTMLFormElement);
  #send = byId("send", HTMLButtonElement);
  #count = byId("question-count", HTMLElement);
  #offer = byId("watch-offer", HTMLButtonElement);
  #onAsk;
  #onWatch;
  #limit = 4000;
  // The last text of `suggest`, which the next one replaces
  #suggested = "";
  // The text becomes a watch, not a question.
  #watching = false;

  /** @param {{onAsk: (text: string) => void, onWatch: (condition: string) => void, onTyping: () => void}} hooks */
  constructor({ onAsk, onWatch, onTyping }) {
    this.#onAsk = onAsk;
    this.#onWatch = onWatch;
    this.box.value = draft.load();
    this.box.addEventListener("focus", onTyping);
    this.box.addEventListener("input", () => {
      onTyping();
      draft.save(this.box.value);
      this.#settle();
    });
    this.box.addEventListener("keydown", (event) => {
      // During composition (Chinese, Japanese, Korean) Enter ends a word.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return onTyping();
      event.preventDefault();
      this.#ask();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#ask();
    });
    this.watch.addEventListener("click", () => {
      if (this.box.value.trim()) return this.#order();
      this.#watch(!this.#watching);
      this.box.focus();
    });
    this.#offer.addEventListener("click", () => this.#order());
    onLanguage(() => {
      this.#watch(this.#watching);
      this.#settle();
    });
    this.#settle();
  }

  /** @param {number} limit characters that the server takes */
  set limit(limit) {
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#settle();
  }

  /** Put a question into the box, behind what somebody has typed there. @param {string} text */
  suggest(text) {
    const typed = this.box.value.trim();
    const own = typed && typed !== this.#suggested;
    this.#suggested = own ? "" : text;
    this.box.value = own ? `${typed} ${text}` : text;
    draft.save(this.box.value);
    this.#settle();
    this.box.focus();
    this.box.setSelectionRange(this.box.value.length, this.box.value.length);
  }

  /** @param {boolean} running an answer is on its way */
  renderRunning(running) {
    const focused = document.activeElement === this.cancel;
    show(this.cancel, running);
    if (focused && !running) this.box.focus(); // or a keyboard user would fall out of the page
  }

  /** Offer watches, or not: an older server has none. @param {boolean} offered */
  offerWatches(offered) {
    show(this.watch, offered);
    if (!offered) this.#watch(false);
    this.#settle();
  }

  /** Put a text back that was not taken, before anything typed since. @param {string} text */
  restore(text) {
    this.box.value = [text, this.box.value].filter(Boolean).join(" ");
    draft.save(this.box.value);
    this.#watch(true);
    this.#settle();
  }

  /** @param {boolean} watching */
  #watch(watching) {
    this.#watching = watching;
    this.watch.setAttribute("aria-pressed", String(watching));
    this.box.placeholder = watching ? text("Tell me when…") : text("Ask a question");
  }

  /** Make a watch of the text. */
  #order() {
    const text = this.box.value.trim();
    if (!text || text.length > this.#limit) return;
    this.#watch(false);
    this.#clear();
    this.#onWatch(conditionIn(text) || text);
  }

  #ask() {
    if (this.#watching) return this.#order();
    const text = this.box.value.trim();
    if (!text || this.box.value.length > this.#limit) return;
    this.#onAsk(text);
    this.#clear();
  }

  #clear() {
    this.box.value = "";
    draft.save("");
    this.#settle();
    // Hide a phone's keyboard, to show the picture and the answer.
    if (matchMedia("(pointer: coarse)").matches) this.box.blur();
  }

  #settle() {
    const { length } = this.box.value;
    const over = length > this.#limit;
    show(this.#offer, !this.watch.hidden && !this.#watching && conditionIn(this.box.value) !== "");
    this.#send.disabled = this.box.value.trim() === "" || over;
    this.box.setAttribute("aria-invalid", String(over));
    show(this.#count, length > this.#limit - COUNT_FROM);
    const left = this.#limit - length;
    if (over) say(this.#count, plural("{count} characters too many", "1 character too many", -left));
    else say(this.#count, plural("{count} characters left", "1 character left", left));
    this.#count.classList.toggle("problem", over);
    if (GROWS_ITSELF) return;
    // As high as its text, up to the style sheet's limit.
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight + 2}px`;
  }
}

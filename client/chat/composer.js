import { byId, say, show } from "../page/dom.js";
import { draft } from "./draft.js";

// With this the style sheet resizes the box, without a layout per key.
const GROWS_ITSELF = CSS.supports("field-sizing", "content");
// The counter appears when at most this many characters are left.
const COUNT_FROM = 300;

/** The box in which a question is typed. Knows no connection. */
export class Composer {
  box = byId("question", HTMLTextAreaElement);
  cancel = byId("cancel", HTMLButtonElement);

  #form = byId("composer", HTMLFormElement);
  #send = byId("send", HTMLButtonElement);
  #count = byId("question-count", HTMLElement);
  #onAsk;
  #limit = 4000;
  // The last text of `suggest`, which the next one replaces
  #suggested = "";

  /** @param {{onAsk: (text: string) => void, onTyping: () => void}} hooks */
  constructor({ onAsk, onTyping }) {
    this.#onAsk = onAsk;
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

  #ask() {
    const text = this.box.value.trim();
    if (!text || this.box.value.length > this.#limit) return;
    this.#onAsk(text);
    this.box.value = "";
    draft.save("");
    this.#settle();
    // Hide a phone's keyboard, to show the picture and the answer.
    if (matchMedia("(pointer: coarse)").matches) this.box.blur();
  }

  #settle() {
    const { length } = this.box.value;
    const over = length > this.#limit;
    this.#send.disabled = this.box.value.trim() === "" || over;
    this.box.setAttribute("aria-invalid", String(over));
    show(this.#count, length > this.#limit - COUNT_FROM);
    say(this.#count, over ? `${length - this.#limit} characters too many` : `${this.#limit - length} characters left`);
    this.#count.classList.toggle("problem", over);
    if (GROWS_ITSELF) return;
    // As high as its text, up to the style sheet's limit.
    this.box.style.height = "auto";
    this.box.style.height = `${this.box.scrollHeight + 2}px`;
  }
}

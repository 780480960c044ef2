import { byId, say, show } from "../../core/page/dom.js";
import { pauseWords, stateWords } from "./words.js";
import { onLanguage, text } from "../../core/words/text.js";

/**
 * The way somebody talks; silence: milliseconds that end a question.
 * @typedef {{mode: "hands_free"|"push", silence: number}} TalkWish
 */
/** @typedef {import("../../core/live/messages.d.ts").Listening["state"]} State */

/** The strip that is there while the microphone is on: its light, its state, and how to talk. */
export class ListeningView {
  #strip = byId("talking", HTMLElement);
  #words = byId("talking-words", HTMLElement);
  #pause = byId("talking-pause", HTMLElement);
  #silence = byId("talking-silence", HTMLInputElement);
  #hold = byId("talking-hold", HTMLButtonElement);
  #change = byId("talking-change", HTMLButtonElement);
  #more = byId("talking-more", HTMLElement);
  #modes = [...this.#strip.querySelectorAll("input[type=radio]")].filter((one) => one instanceof HTMLInputElement);
  #held = false;
  /** @type {[boolean, TalkWish, State, boolean, ("slow"|"unclear"|"")?]|null} */
  #shown = null;
  #onHold;

  /**
   * @param {Object} hooks
   * @param {(wish: Partial<TalkWish>) => void} hooks.onWish
   * @param {(down: boolean) => void} hooks.onHold the button is held, or released
   */
  constructor({ onWish, onHold }) {
    this.#onHold = onHold;
    for (const mode of this.#modes) {
      mode.addEventListener("change", () => onWish({ mode: mode.value === "push" ? "push" : "hands_free" }));
    }
    this.#change.addEventListener("click", () => {
      show(this.#more, this.#more.hidden);
      this.#change.setAttribute("aria-expanded", String(!this.#more.hidden));
    });
    this.#silence.addEventListener("input", () => onWish({ silence: Number(this.#silence.value) }));
    this.#hold.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#hold.setPointerCapture(event.pointerId);
      this.#press(true);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) {
      this.#hold.addEventListener(end, () => this.#press(false));
    }
    this.#hold.addEventListener("contextmenu", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => this.#key(event, true));
    document.addEventListener("keyup", (event) => this.#key(event, false));
    window.addEventListener("blur", () => this.#press(false));
    onLanguage(() => this.#shown && this.render(...this.#shown));
  }

  /**
   * @param {boolean} on
   * @param {TalkWish} wish
   * @param {State} state
   * @param {boolean} held
   * @param {"slow"|"unclear"|""} [news] see `stateWords`
   */
  render(on, wish, state, held, news) {
    this.#shown = [on, wish, state, held, news];
    const push = wish.mode === "push";
    show(this.#strip, on);
    show(this.#hold, push);
    show(this.#silence, !push);
    show(this.#pause, !push);
    this.#hold.setAttribute("aria-pressed", String(held));
    say(this.#hold, held ? text("voice.release") : text("voice.hold_to_talk"));
    this.#strip.dataset.state = state;
    this.#strip.toggleAttribute("data-heard", on && (!push || held));
    say(this.#words, stateWords(wish.mode, state, held, news));
    for (const mode of this.#modes) mode.checked = mode.value === wish.mode;
    this.#silence.value = String(wish.silence);
    this.#silence.setAttribute("aria-valuetext", pauseWords(wish.silence));
    const output = this.#pause.querySelector("output");
    if (output) say(output, pauseWords(wish.silence));
  }

  /** @param {KeyboardEvent} event @param {boolean} down */
  #key(event, down) {
    const own = document.activeElement === this.#hold;
    // Space talks wherever it has no other meaning.
    const free = document.activeElement === document.body && event.key === " ";
    if (event.repeat && (own || free) && !this.#hold.hidden) return event.preventDefault();
    if (!down) {
      if (event.key === " " || event.key === "Enter") this.#press(false);
      return;
    }
    if (this.#hold.hidden || this.#strip.hidden || !(free || (own && (event.key === " " || event.key === "Enter"))))
      return;
    event.preventDefault();
    this.#press(true);
  }

  /** @param {boolean} down */
  #press(down) {
    if (down === this.#held || (down && this.#strip.hidden)) return;
    this.#held = down;
    this.#onHold(down);
  }
}

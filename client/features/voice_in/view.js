import { byId, made, say, show } from "../../core/page/dom.js";
import { pauseWords, stateWords } from "./words.js";
import { onLanguage, text } from "../../core/words/text.js";

/**
 * The way somebody talks; silence: milliseconds that end a question.
 * @typedef {{mode: "hands_free"|"push", silence: number}} TalkWish
 */
/** @typedef {import("./words.js").TalkState} TalkState */

// Bars of the level
const BARS = 4;

/** The strip that is there while the microphone is on: its light, its level and its state. */
export class StripView {
  strip = byId("talking", HTMLElement);
  hold = byId("talking-hold", HTMLButtonElement);
  change = byId("talking-change", HTMLButtonElement);
  #words = byId("talking-words", HTMLElement);
  #level;

  constructor() {
    this.#level = this.strip.querySelector("b") ?? made("b");
    if (this.#level.isConnected) return;
    this.#level.ariaHidden = "true";
    this.#level.append(...Array.from({ length: BARS }, () => made("i")));
    this.#words.dir = "auto";
    this.#words.before(this.#level);
  }

  /**
   * @param {TalkState} state
   * @param {boolean} heard sound leaves the page
   * @param {string} [words] that were understood so far
   */
  show(state, heard, words) {
    show(this.strip, state !== "off");
    this.strip.dataset.state = state;
    this.strip.toggleAttribute("data-heard", heard);
    say(this.#words, words || stateWords(state));
    if (!heard) this.level(0);
  }

  /** Show how loud it is. @param {number} level 0 to 1 */
  level(level) {
    this.#level.style.setProperty("--level", level.toFixed(2));
  }
}

/** The strip with how to talk. */
export class ListeningView extends StripView {
  #pause = byId("talking-pause", HTMLElement);
  #silence = byId("talking-silence", HTMLInputElement);
  #more = byId("talking-more", HTMLElement);
  #modes = [...this.strip.querySelectorAll("input[type=radio]")].filter((one) => one instanceof HTMLInputElement);
  #held = false;
  /** @type {[TalkState, boolean, TalkWish]|null} */
  #shown = null;
  #onHold;

  /**
   * @param {Object} hooks
   * @param {(wish: Partial<TalkWish>) => void} hooks.onWish
   * @param {(down: boolean) => void} hooks.onHold the button is held, or released
   */
  constructor({ onWish, onHold }) {
    super();
    this.#onHold = onHold;
    for (const mode of this.#modes) {
      mode.addEventListener("change", () => onWish({ mode: mode.value === "push" ? "push" : "hands_free" }));
    }
    this.change.addEventListener("click", () => {
      show(this.#more, this.#more.hidden);
      this.change.setAttribute("aria-expanded", String(!this.#more.hidden));
    });
    this.#silence.addEventListener("input", () => onWish({ silence: Number(this.#silence.value) }));
    this.hold.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.hold.setPointerCapture(event.pointerId);
      this.#press(true);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) {
      this.hold.addEventListener(end, () => this.#press(false));
    }
    this.hold.addEventListener("contextmenu", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => this.#key(event, true));
    document.addEventListener("keyup", (event) => this.#key(event, false));
    window.addEventListener("blur", () => this.#press(false));
    onLanguage(() => this.#shown && this.render(...this.#shown));
  }

  /** @param {TalkState} state @param {boolean} heard sound leaves the page @param {TalkWish} wish */
  render(state, heard, wish) {
    this.#shown = [state, heard, wish];
    const push = wish.mode === "push";
    this.show(state, heard);
    show(this.hold, push);
    show(this.#silence, !push);
    show(this.#pause, !push);
    show(this.change, true);
    const held = push && state === "hearing";
    this.hold.setAttribute("aria-pressed", String(held));
    say(this.hold, held ? text("voice.release") : text("voice.hold_to_talk"));
    for (const mode of this.#modes) mode.checked = mode.value === wish.mode;
    this.#silence.value = String(wish.silence);
    this.#silence.setAttribute("aria-valuetext", pauseWords(wish.silence));
    const output = this.#pause.querySelector("output");
    if (output) say(output, pauseWords(wish.silence));
  }

  /** @param {KeyboardEvent} event @param {boolean} down */
  #key(event, down) {
    const own = document.activeElement === this.hold;
    // Space talks wherever it has no other meaning.
    const free = document.activeElement === document.body && event.key === " ";
    if (event.repeat && (own || free) && !this.hold.hidden) return event.preventDefault();
    if (!down) {
      if (event.key === " " || event.key === "Enter") this.#press(false);
      return;
    }
    if (this.hold.hidden || this.strip.hidden || !(free || (own && (event.key === " " || event.key === "Enter"))))
      return;
    event.preventDefault();
    this.#press(true);
  }

  /** @param {boolean} down */
  #press(down) {
    if (down === this.#held || (down && this.strip.hidden)) return;
    this.#held = down;
    this.#onHold(down);
  }
}

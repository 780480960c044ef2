import { openSound } from "../../core/page/notes.js";
import { goodTone, notYetTone } from "../../core/page/tones.js";
import { text } from "../../core/words/text.js";
import { help, tones } from "./help.js";
import { wordsOf } from "./words.js";

/** @typedef {import("../../core/live/messages.d.ts").AimHint} AimHint */

// Milliseconds after which a hint that still holds is spoken again
const AGAIN = 7000;
// The page's notice shows these already.
const NOTICED = new Set(["dark", "blurred"]);
// The person cannot correct these.
const SAID_ONCE = new Set(["good", "nothing"]);

/** Says the hints how to move the camera. Loaded when needed, not with the page. */
export class Guide {
  #say;
  #verbosity;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #again;

  /**
   * @param {Object} hooks
   * @param {(text: string) => boolean} hooks.say speaks it, if the user wants that; true when wanted
   * @param {() => "short"|"normal"|"full"} hooks.verbosity the length of spoken hints
   */
  constructor({ say, verbosity }) {
    this.#say = say;
    this.#verbosity = verbosity;
  }

  /** The user has tapped, which browsers want for sound. */
  prepare() {
    openSound();
  }

  /** @param {AimHint} hint @returns {{text: string, shown: boolean, spoken: boolean}} */
  take({ hint, about }) {
    this.rest();
    const words = wordsOf(hint, about);
    if (tones() && hint === "good") goodTone();
    else if (tones()) notYetTone();
    const spoken = help() === "spoken" && this.#say(words);
    if (spoken && this.#verbosity() !== "short" && !SAID_ONCE.has(hint))
      this.#again = setInterval(() => this.#say(words), AGAIN);
    // Where there is nothing to aim at, a thing may be what somebody looks for.
    const line = hint === "nothing" ? `${words} · ${text("guide.begun")}` : words;
    return { text: line, shown: !NOTICED.has(hint), spoken };
  }

  /** Repeat nothing until the next hint. */
  rest() {
    clearInterval(this.#again);
  }
}

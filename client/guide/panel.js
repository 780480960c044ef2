import { goodTone, openSound } from "./tones.js";
import { wordsOf } from "./words.js";

/** @typedef {import("../live/messages.js").AimHint} AimHint */

// Milliseconds after which a hint that still holds is spoken again
const AGAIN = 7000;
// The page's notice shows these already.
const NOTICED = new Set(["dark", "blurred"]);
// Nothing is to be done about these.
const SAID_ONCE = new Set(["good", "nothing"]);

/** Says the hints how to move the camera. Loaded when needed, not with the page. */
export class Guide {
  #say;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #again;

  /** @param {{say: (text: string) => boolean}} hooks say: speaks it, if the user wants that; true when wanted */
  constructor({ say }) {
    this.#say = say;
  }

  /** The user has tapped, which browsers want for sound. */
  prepare() {
    openSound();
  }

  /** @param {AimHint} hint @returns {{text: string, shown: boolean, spoken: boolean}} */
  take({ hint, about }) {
    this.rest();
    const text = wordsOf(hint, about);
    if (hint === "good") goodTone();
    const spoken = this.#say(text);
    if (!SAID_ONCE.has(hint)) this.#again = setInterval(() => this.#say(text), AGAIN);
    return { text, shown: !NOTICED.has(hint), spoken };
  }

  /** Repeat nothing until the next hint. */
  rest() {
    clearInterval(this.#again);
  }
}

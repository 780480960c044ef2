import { openSound } from "../page/notes.js";
import { settings } from "../page/settings.js";
import { goodTone, notYetTone } from "./tones.js";
import { READ, readingWords, wordsOf } from "./words.js";
import { text } from "../words/text.js";

/** @typedef {import("../live/messages.js").AimHint} AimHint */
/** @typedef {import("../live/voicemessages.js").ReadingState} ReadingState */

// Milliseconds after which a hint that still holds is spoken again
const AGAIN = 7000;
// The page's notice shows these already.
const NOTICED = new Set(["dark", "blurred"]);
// Nothing is to be done about these.
const SAID_ONCE = new Set(["good", "nothing"]);

/** Says the hints how to move the camera. Loaded when needed, not with the page. */
export class Guide {
  #say;
  #verbosity;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #again;

  /**
   * @param {Object} hooks
   * @param {(text: string, reading?: boolean) => boolean} hooks.say speaks it, if the user wants that; true when
   *   wanted. reading: between two pieces of a text that is read
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
    const { help } = settings();
    const tones = help === "tones" || help === "spoken";
    if (tones && hint === "good") goodTone();
    else if (tones) notYetTone();
    const spoken = help === "spoken" && this.#say(words);
    if (spoken && this.#verbosity() !== "short" && !SAID_ONCE.has(hint)) this.#again = setInterval(() => this.#say(words), AGAIN);
    return { text: words, shown: !NOTICED.has(hint), spoken };
  }

  /** Show a hint for reading on, or the end of the text. @param {ReadingState} state @returns {{text: string, spoken: boolean}} */
  read({ hint, over }) {
    this.rest();
    const words = over ? text(READ) : hint ? readingWords(hint) : "";
    if (over) goodTone();
    return { text: words, spoken: words !== "" && this.#say(words, true) };
  }

  /** Repeat nothing until the next hint. */
  rest() {
    clearInterval(this.#again);
  }
}

import { openSound, playNotes } from "./notes.js";

/** @typedef {"listening"|"heard"|"thinking"|"lost"} Earcon */

/** @type {Record<Earcon, import("./notes.js").Note[]>} */
const NOTES = {
  listening: [
    [523, 0],
    [784, 0.08],
  ],
  heard: [[784, 0]],
  thinking: [[392, 0]],
  lost: [
    [440, 0],
    [330, 0.14],
    [262, 0.28],
  ],
};
const SECONDS = 0.11;
const LOUDNESS = 0.07;

/**
 * Short, quiet tones for what cannot be seen. Silent while an answer is heard, and where the user does not want them.
 */
export class Earcons {
  #wanted;
  #hears;

  /** @param {{wanted: () => boolean, hears: () => boolean}} hooks hears: the user hears an answer now */
  constructor({ wanted, hears }) {
    this.#wanted = wanted;
    this.#hears = hears;
  }

  /** The user has tapped, which browsers want for sound; one without sound stays silent. */
  prepare() {
    openSound();
  }

  /** @param {Earcon} name */
  play(name) {
    if (this.#wanted() && !this.#hears()) playNotes(NOTES[name], SECONDS, LOUDNESS);
  }
}

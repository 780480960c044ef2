/** @typedef {"listening"|"heard"|"thinking"|"lost"} Earcon */

// Hertz of each note, and when it begins (s)
/** @type {Record<Earcon, [number, number][]>} */
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

/** @type {AudioContext|null} */
let audio = null;

/** Short, quiet tones for what cannot be seen. Silent while an answer is heard, and where the user does not want them. */
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
    try {
      audio ??= new AudioContext();
      void audio.resume().catch(() => {});
    } catch {
      // No sound here.
    }
  }

  /** @param {Earcon} name */
  play(name) {
    if (audio?.state !== "running" || !this.#wanted() || this.#hears()) return;
    for (const [hertz, after] of NOTES[name]) {
      const tone = audio.createOscillator();
      const level = audio.createGain();
      const begin = audio.currentTime + after;
      tone.frequency.value = hertz;
      level.gain.setValueAtTime(0.0001, begin);
      level.gain.exponentialRampToValueAtTime(LOUDNESS, begin + 0.015);
      level.gain.exponentialRampToValueAtTime(0.0001, begin + SECONDS);
      tone.connect(level).connect(audio.destination);
      tone.start(begin);
      tone.stop(begin + SECONDS);
    }
  }
}

import { playNotes } from "../../core/page/notes.js";

const SECONDS = 0.07;
const LOUDNESS = 0.14;
// Least milliseconds between two tones
const CLOSEST = 90;

/** Tones that come at a rate, from a side. Silent until `openSound` had its tap. */
export class Beacon {
  #rate = 0;
  #pan = 0;
  #hertz = 0;
  #last = -Infinity;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #onTone;

  /** @param {() => void} onTone with each tone */
  constructor(onTone) {
    this.#onTone = onTone;
  }

  /**
   * Sound like this from now on; a faster rate and another pitch are heard at once.
   * @param {{rate: number, pan: number, hertz: number}} cue rate: tones a second; 0: none
   */
  set({ rate, pan, hertz }) {
    const changed = hertz !== this.#hertz;
    [this.#rate, this.#pan, this.#hertz] = [rate, pan, hertz];
    this.#wait(changed);
  }

  stop() {
    this.#rate = 0;
    clearTimeout(this.#timer);
  }

  /** @param {boolean} [changed] do not wait for the rate */
  #wait(changed = false) {
    clearTimeout(this.#timer);
    if (!(this.#rate > 0)) return;
    const rest = this.#last + (changed ? CLOSEST : 1000 / this.#rate) - performance.now();
    if (rest > 0) this.#timer = setTimeout(() => this.#wait(), rest);
    else this.#tone();
  }

  #tone() {
    this.#last = performance.now();
    playNotes([[this.#hertz, 0]], SECONDS, LOUDNESS, this.#pan);
    this.#onTone();
    this.#wait();
  }
}

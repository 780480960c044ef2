import { analyse } from "../../core/page/notes.js";

// Between two measurements (ms)
const EVERY = 100;
// Decibels below full scale that are level 0 and 1
const QUIET = -60;
const LOUD = -20;

/** Measures how loud a microphone is, for eyes that welcome motion. */
export class Meter {
  #onLevel;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #timer;

  /** @param {(level: number) => void} onLevel 0 to 1 */
  constructor(onLevel) {
    this.#onLevel = onLevel;
  }

  /** @param {MediaStreamTrack|null} track null: measure nothing any more */
  follow(track) {
    clearInterval(this.#timer);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const analyser = track && !still ? analyse(track) : null;
    if (!analyser) return;
    const samples = new Float32Array(analyser.fftSize);
    this.#timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      this.#onLevel(levelOf(samples));
    }, EVERY);
  }
}

/** @param {Float32Array} samples -1 to 1 @returns {number} 0 to 1 */
function levelOf(samples) {
  const power = samples.reduce((sum, one) => sum + one * one, 0) / samples.length;
  const decibels = 10 * Math.log10(power + 1e-12);
  return Math.min(1, Math.max(0, (decibels - QUIET) / (LOUD - QUIET)));
}

import { MIN_GAP_MS, checkSize } from "./ring.js";

/** Pictures that are kept; of more, every other one of the older half goes: 96 of 57,600 bytes are 5.5 MB. */
export const MAX_PICTURES = 96;
// A frame that is further off than this is not among them.
const NEAR_MS = 250;

/** @typedef {{luma: Uint8Array, capturedAt: number}} Small */

/**
 * Small pictures from a question on, until its answer says where something was in one of them. However long the answer
 * takes: what is older is kept at longer intervals.
 */
export class Recent {
  width = 0;
  height = 0;
  /** Pictures that gave way */
  dropped = 0;

  /** @type {Small[]} oldest first */
  #pictures = [];

  get length() {
    return this.#pictures.length;
  }

  /**
   * Keep a copy.
   * @param {Uint8Array} luma @param {number} width @param {number} height @param {number} capturedAt ms
   * @returns {boolean} false where it comes too close behind the last one
   * @throws {RangeError}
   */
  put(luma, width, height, capturedAt) {
    checkSize(luma, width, height);
    if (width !== this.width || height !== this.height) {
      // The device was turned: pictures of another shape cannot be compared.
      this.clear();
      this.width = width;
      this.height = height;
    }
    const last = this.#pictures.at(-1);
    if (last && capturedAt < last.capturedAt) this.clear(); // another clock
    else if (last && capturedAt - last.capturedAt < MIN_GAP_MS) return false;
    if (this.#pictures.length >= MAX_PICTURES) this.#thin();
    this.#pictures.push({ luma: luma.slice(), capturedAt });
    return true;
  }

  /** Drop the pictures that lie before the one nearest to a time. @param {number} capturedAt ms */
  from(capturedAt) {
    let first = 0;
    const off = (/** @type {number} */ n) => Math.abs(this.#pictures[n].capturedAt - capturedAt);
    while (first + 1 < this.#pictures.length && off(first + 1) <= off(first)) first++;
    this.#pictures.splice(0, first);
  }

  /**
   * Give the pictures from a frame on away.
   * @param {number} capturedAt ms
   * @returns {Small[]} oldest first; none where that frame is not among them
   */
  take(capturedAt) {
    this.from(capturedAt);
    const [first] = this.#pictures;
    const near = first !== undefined && Math.abs(first.capturedAt - capturedAt) <= NEAR_MS;
    return near ? this.#pictures.splice(0) : [];
  }

  clear() {
    this.#pictures = [];
  }

  #thin() {
    const half = this.#pictures.length / 2;
    const kept = this.#pictures.filter((_, n) => n >= half || n % 2 === 0);
    this.dropped += this.#pictures.length - kept.length;
    this.#pictures = kept;
  }
}

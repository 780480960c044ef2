/** Carries boxes about past frames to the newest small picture, and on from there. No worker, no page, no clock. */
import { Pyramid } from "./pyramid.js";
import { Ring } from "./ring.js";
import { TrackedBox } from "./trackedbox.js";

/** Boxes that are carried at once; of more, the one added longest ago goes. */
export const MAX_BOXES = 8;
const MAX_LABEL = 100;
// Sides of a box in pixels of the small picture
const MIN_SIDE = 4;

/**
 * Left, top, right and bottom as parts of the picture's width and height, 0 to 1.
 * @typedef {[number, number, number, number]} Edges
 */

/**
 * @typedef {Object} Carried
 * @property {number} id
 * @property {string} label
 * @property {Edges} box where it is at `at`; where it was last, for one that is not shown
 * @property {import("./trackedbox.js").State} state `gone` once, and never again
 * @property {number} capturedAt the frame that the box was given for, ms by the page's clock
 * @property {number} at the frame that `box` is about
 */

/**
 * @typedef {{id: number, label: string, capturedAt: number, edges: Edges, tracked: TrackedBox|null, at: number}} Entry
 */

export class Tracker {
  /** Boxes that gave way to newer ones */
  pushedOut = 0;

  #ring;
  /** @type {Entry[]} in the order in which they were added; `at` is the number of the picture that each has reached */
  #entries = [];
  /** @type {Carried[]} reported with the next `boxes` */
  #gone = [];
  /** @type {Pyramid} of picture `#fromNumber` */
  #from;
  /** @type {Pyramid} */
  #to;
  #fromNumber = -1;
  #toNumber = -1;

  /** @param {number} [width] @param {number} [height] of the small pictures @throws {RangeError} */
  constructor(width = 320, height = 180) {
    this.#ring = new Ring(width, height);
    this.#from = new Pyramid(width, height);
    this.#to = new Pyramid(width, height);
  }

  get ring() {
    return this.#ring;
  }

  /**
   * Take the newest picture. Boxes are carried to it by `advance`.
   * @param {Uint8Array} luma @param {number} capturedAt ms @returns {boolean} false where it was not taken
   */
  frame(luma, capturedAt) {
    const known = this.#ring.next > this.#ring.first;
    if (!this.#ring.put(luma, capturedAt)) return false;
    // A new clock
    if (known && this.#ring.first === this.#ring.next - 1) this.clear();
    return true;
  }

  /**
   * @param {{id: number, box: Edges, capturedAt: number, label: string}} given `capturedAt`: the frame that the box is
   *   about
   * @returns {boolean} false where it cannot be carried: it is about a frame that is not kept, too small, or no box
   */
  addBox({ id, box, capturedAt, label }) {
    const number = this.#ring.at(capturedAt);
    const edges = inside(box);
    /** @type {Entry} */
    const entry = {
      id,
      label: label.slice(0, MAX_LABEL),
      capturedAt,
      edges: edges ?? [0, 0, 0, 0],
      tracked: null,
      at: number,
    };
    const { width, height } = this.#ring;
    const [left, top, right, bottom] = entry.edges;
    if (number < 0 || (right - left) * width < MIN_SIDE || (bottom - top) * height < MIN_SIDE) {
      this.#reportGone(entry);
      return false;
    }
    this.removeBox(id);
    if (this.#entries.length >= MAX_BOXES) {
      this.pushedOut++;
      this.#drop(this.#entries[0]);
    }
    this.#entries.push(entry);
    return true;
  }

  /** @param {number} id */
  removeBox(id) {
    const found = this.#entries.find((entry) => entry.id === id);
    if (found) this.#drop(found);
  }

  clear() {
    for (const entry of [...this.#entries]) this.#drop(entry);
  }

  /**
   * Carry boxes on: first those that only the newest picture is new to, then those furthest behind.
   * @param {number} steps at most: one box from one picture to the next
   * @returns {boolean} more is to be done
   */
  advance(steps) {
    const newest = this.#ring.next - 1;
    for (const entry of [...this.#entries]) if (entry.at < this.#ring.first) this.#skip(entry);
    for (const entry of this.#entries) if (entry.tracked && entry.at === newest - 1 && steps-- > 0) this.#carry(entry);
    while (steps > 0) {
      const behind = this.#entries.filter(({ at, tracked }) => at < newest || !tracked);
      if (behind.length === 0) break;
      const furthest = Math.min(...behind.map(({ at }) => at));
      for (const entry of behind) if (entry.at === furthest && steps-- > 0) this.#carry(entry);
    }
    for (const entry of [...this.#entries]) if (entry.tracked?.state === "gone") this.#drop(entry);
    return this.#entries.some(({ at, tracked }) => at < newest || !tracked);
  }

  /** All boxes that have reached the newest picture, and once those that are gone. @returns {Carried[]} */
  boxes() {
    const newest = this.#ring.next - 1;
    const gone = this.#gone.splice(0);
    return gone.concat(
      this.#entries.filter(({ at, tracked }) => tracked && at === newest).map((entry) => this.#carried(entry)),
    );
  }

  /** @param {Entry} entry one picture on; for a new one, begin it */
  #carry(entry) {
    const { at } = entry;
    if (!entry.tracked) {
      const { width, height } = this.#ring;
      const [left, top, right, bottom] = entry.edges;
      this.#load(at, at);
      // A pixel's place is its centre.
      entry.tracked = new TrackedBox(
        this.#from,
        left * width - 0.5,
        top * height - 0.5,
        right * width - 0.5,
        bottom * height - 0.5,
      );
      return;
    }
    this.#load(at, at + 1);
    entry.tracked.step(this.#from, this.#to, this.#ring.time(at + 1));
    entry.at = at + 1;
  }

  /** The pictures between are no longer there: it can only be looked for. @param {Entry} entry */
  #skip(entry) {
    if (!entry.tracked) {
      this.#drop(entry);
      return;
    }
    if (entry.tracked.state !== "lost") entry.tracked.lose(this.#ring.time(this.#ring.first));
    entry.at = this.#ring.first;
  }

  /**
   * @param {number} from
   * @param {number} to numbers of pictures, whose pyramids are made where they are not here yet
   */
  #load(from, to) {
    if (this.#fromNumber !== from) {
      if (this.#toNumber === from) {
        [this.#from, this.#to] = [this.#to, this.#from];
        [this.#fromNumber, this.#toNumber] = [this.#toNumber, this.#fromNumber];
      } else {
        this.#from.fill(this.#ring.luma(from));
        this.#fromNumber = from;
      }
    }
    if (to !== from && this.#toNumber !== to) {
      this.#to.fill(this.#ring.luma(to));
      this.#toNumber = to;
    }
  }

  /** @param {Entry} entry */
  #drop(entry) {
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#reportGone(entry);
  }

  /** @param {Entry} entry */
  #reportGone(entry) {
    this.#gone.push({ ...this.#carried(entry), state: "gone" });
    // Drop the oldest: nothing has requested them.
    if (this.#gone.length > 4 * MAX_BOXES) this.#gone.shift();
  }

  /** @param {Entry} entry @returns {Carried} */
  #carried({ id, label, capturedAt, edges, tracked, at }) {
    const { width, height } = this.#ring;
    const [left, top, right, bottom] = tracked?.edges ?? [0, 0, 0, 0];
    return {
      id,
      label,
      box: tracked
        ? [(left + 0.5) / width, (top + 0.5) / height, (right + 0.5) / width, (bottom + 0.5) / height]
        : edges,
      state: tracked?.state ?? "lost",
      capturedAt,
      at: at >= this.#ring.first ? this.#ring.time(at) : capturedAt,
    };
  }
}

/** @param {Edges} box @returns {Edges|null} what of it lies in the picture */
function inside(box) {
  if (!Array.isArray(box) || box.length !== 4) return null;
  const [left, top, right, bottom] = box.map((part) => Math.min(1, Math.max(0, part)));
  return right > left && bottom > top ? [left, top, right, bottom] : null;
}

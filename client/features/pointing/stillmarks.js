import { pageTime } from "../../core/live/api.js";
import { partsOf } from "../../core/page/picture.js";
import { Overlay } from "./overlay.js";

/** @typedef {import("../../core/page/picture.js").Edges} Edges */

// Small pictures of the last stills, of which one is nearest to the answer's frame
const WIDTH = 96;
const HEIGHT = 54;
const KEPT = 6;
// Mean difference of a box's part, 0 to 255, from which on it shows something else
const OTHER = 16;
// A box about a picture of so long ago (ms) is of no use.
const LONGEST_MS = 60_000;

/**
 * @typedef {{id: number, label: string, unsure: boolean, box: Edges, capturedAt: number, luma: Uint8ClampedArray}} Held
 */

/**
 * Boxes of an answer on the stills of another device's camera. A still a second is too few to follow a thing, so a box
 * stays where it is while that part of the picture looks the same, and goes else.
 */
export class StillMarks {
  #image;
  #hooks;
  /** @type {Overlay|null} made for the first box */
  #overlay = null;
  #context = new OffscreenCanvas(WIDTH, HEIGHT).getContext("2d", { willReadFrequently: true });
  /** @type {{at: number, luma: Uint8ClampedArray}[]} oldest first */
  #stills = [];
  /** @type {Held[]} */
  #boxes = [];

  /**
   * @param {HTMLImageElement} image
   * @param
   *   {{onAsk: (mark: {label: string}, where: string) => void, onGone: (label: string) => void, onClear: () => void}}
   *   hooks
   */
  constructor(image, hooks) {
    this.#image = image;
    this.#hooks = hooks;
    image.addEventListener("load", () => this.#still());
  }

  /**
   * @param {import("../../core/live/messages.d.ts").FoundBox[]} found
   * @param {import("../../core/live/messages.d.ts").FrameInfo} frame
   * @param {number} frameAt
   */
  show(found, frame, frameAt) {
    const nearest = this.#stills.toSorted((one, other) => Math.abs(one.at - frameAt) - Math.abs(other.at - frameAt))[0];
    this.#boxes = nearest
      ? partsOf(found, frame).map(({ box, label, unsure }, id) => ({
          id,
          label,
          unsure,
          box,
          capturedAt: frameAt,
          luma: nearest.luma,
        }))
      : [];
    const { onAsk, onClear } = this.#hooks;
    if (this.#boxes.length > 0) this.#overlay ??= new Overlay(this.#image, { onAsk, onClear });
    this.#render();
  }

  clear() {
    this.#boxes = [];
    this.#overlay?.render([]);
  }

  #still() {
    const context = this.#context;
    if (!context) return;
    context.drawImage(this.#image, 0, 0, WIDTH, HEIGHT);
    this.#stills.push({ at: pageTime(), luma: context.getImageData(0, 0, WIDTH, HEIGHT).data });
    if (this.#stills.length > KEPT) this.#stills.shift();
    if (this.#boxes.length > 0) this.#render();
  }

  #render() {
    const now = pageTime();
    const newest = this.#stills.at(-1);
    const same = (/** @type {Held} */ one) =>
      newest !== undefined && now - one.capturedAt < LONGEST_MS && difference(one.luma, newest.luma, one.box) < OTHER;
    const kept = this.#boxes.filter(same);
    for (const one of this.#boxes) if (!kept.includes(one)) this.#hooks.onGone(one.label);
    this.#boxes = kept;
    this.#overlay?.render(
      kept.map(({ id, label, unsure, box, capturedAt }) => ({
        id,
        label,
        unsure,
        box,
        state: "shown",
        age: now - capturedAt,
      })),
    );
  }
}

/**
 * Mean difference of a part of two small pictures.
 * @param {Uint8ClampedArray} one @param {Uint8ClampedArray} other @param {Edges} box
 */
export function difference(one, other, [x1, y1, x2, y2]) {
  const [left, right] = [Math.floor(x1 * (WIDTH - 1)), Math.ceil(x2 * (WIDTH - 1))];
  const [top, bottom] = [Math.floor(y1 * (HEIGHT - 1)), Math.ceil(y2 * (HEIGHT - 1))];
  let sum = 0;
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const at = 4 * (y * WIDTH + x);
      sum +=
        Math.abs(one[at] - other[at]) + Math.abs(one[at + 1] - other[at + 1]) + Math.abs(one[at + 2] - other[at + 2]);
    }
  }
  return sum / (3 * (right - left + 1) * (bottom - top + 1));
}

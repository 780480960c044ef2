/** Boxes that go along with the live picture. The work is done in a worker, which begins with the first call. */

import { checkSize } from "./ring.js";

/** @typedef {import("./tracker.js").Carried} Carried */
/** @typedef {import("./tracker.js").Edges} Edges */

// Small pictures on their way to the worker; more are dropped.
const MAX_ON_THEIR_WAY = 2;

export class Boxes {
  /** Small pictures that were dropped because the worker is behind */
  dropped = 0;
  /** The worker has failed: nothing is carried any more */
  failed = false;

  #worker;
  #id = 0;
  /** Memory for pictures. @type {Uint8Array[]} */
  #spare = [];
  #onTheirWay = 0;
  /** @type {Set<(boxes: Carried[]) => void>} */
  #listeners = new Set();

  /** @param {() => Worker} [makeWorker] */
  constructor(makeWorker = () => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })) {
    this.#worker = makeWorker();
    this.#worker.addEventListener("message", ({ data }) => this.#hear(data));
    this.#worker.addEventListener("error", () => {
      this.failed = true;
      for (const listener of this.#listeners) listener([]);
    });
  }

  /**
   * Show a box that somebody found in a past frame. One about a frame that is more than 3 s old is gone at once.
   * @param {{box: Edges, capturedAt: number, label: string}} given capturedAt: by `pageTime`
   * @returns {number} its id
   */
  addBox({ box, capturedAt, label }) {
    const id = ++this.#id;
    this.#worker.postMessage({ type: "add", id, box, capturedAt, label });
    return id;
  }

  /** @param {number} id */
  removeBox(id) {
    this.#worker.postMessage({ type: "remove", id });
  }

  /**
   * The newest small picture: 320x180, or as many pixels in the camera's own shape.
   * @param {Uint8Array} luma is copied @param {number} capturedAt by `pageTime` @param {number} [width] @param {number} [height]
   * @throws {RangeError}
   */
  frame(luma, capturedAt, width = 320, height = 180) {
    checkSize(luma, width, height);
    if (this.failed || this.#onTheirWay >= MAX_ON_THEIR_WAY) {
      this.dropped++;
      return;
    }
    let copy = this.#spare.pop();
    if (copy?.length !== luma.length) copy = new Uint8Array(luma.length);
    copy.set(luma);
    this.#onTheirWay++;
    this.#worker.postMessage({ type: "frame", luma: copy, width, height, capturedAt }, [copy.buffer]);
  }

  /** Hear with each picture where all boxes are; what is not among them is not to be shown. @param {(boxes: Carried[]) => void} listener @returns {() => void} ends it */
  on(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  close() {
    this.#worker.terminate();
    this.#listeners.clear();
  }

  /** @param {{type: "frame", luma: Uint8Array} | {type: "boxes", boxes: Carried[]}} data */
  #hear(data) {
    if (data.type === "frame") {
      this.#onTheirWay--;
      this.#spare.push(data.luma);
    } else for (const listener of this.#listeners) listener(data.boxes);
  }
}

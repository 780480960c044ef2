/** Boxes that go along with the live picture. The work is done in a worker, which begins with the first call. */

import { checkSize } from "./ring.js";

/** @typedef {import("./tracker.js").Carried} Carried */
/** @typedef {import("./tracker.js").Edges} Edges */

// Small pictures on their way to the worker; more are dropped.
const MAX_ON_THEIR_WAY = 2;
// Memory for pictures that is kept for the next ones
const MAX_SPARE = 3;

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

  /**
   * Reset: drop all boxes and pictures, and carry boxes through pictures that were kept, up to the newest. Each is
   * done before the next comes, so that they may reach back further than the tracker keeps pictures.
   * @param {{pictures: {luma: Uint8Array, capturedAt: number}[], width: number, height: number, capturedAt: number,
   * boxes:
   * {box: Edges, label: string}[]}} given pictures: oldest first, whose memory is taken; capturedAt: the frame that
   *   the boxes are about, near to one of them
   * @returns {number[]} the boxes' ids
   * @throws {RangeError}
   */
  begin({ pictures, width, height, capturedAt, boxes }) {
    for (const { luma } of pictures) checkSize(luma, width, height);
    this.clear();
    let nearest = 0;
    const off = (/** @type {number} */ n) => Math.abs(pictures[n].capturedAt - capturedAt);
    for (let n = 1; n < pictures.length; n++) if (off(n) < off(nearest)) nearest = n;
    /** @type {number[]} */
    let ids = [];
    pictures.forEach((picture, n) => {
      this.#onTheirWay++;
      this.#worker.postMessage({ type: "frame", width, height, ...picture }, [picture.luma.buffer]);
      if (n === nearest) ids = boxes.map(({ box, label }) => this.addBox({ box, capturedAt, label }));
    });
    return ids;
  }

  /** Drop all boxes and pictures. */
  clear() {
    this.#worker.postMessage({ type: "clear" });
  }

  /** @param {number} id */
  removeBox(id) {
    this.#worker.postMessage({ type: "remove", id });
  }

  /**
   * The newest small picture: 320x180, or as many pixels in the camera's own shape.
   * @param {Uint8Array} luma is copied @param {number} capturedAt by `pageTime` @param {number} [width] @param {number}
   *   [height]
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

  /**
   * Hear with each picture where all boxes are; what is not among them is not to be shown.
   * @param {(boxes: Carried[]) => void} listener
   * @returns {() => void} ends it
   */
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
      if (this.#spare.length < MAX_SPARE) this.#spare.push(data.luma);
    } else for (const listener of this.#listeners) listener(data.boxes);
  }
}

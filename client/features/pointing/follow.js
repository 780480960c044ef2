import { Boxes } from "./boxes.js";
import { Readback } from "./readback.js";

/** @typedef {import("../../core/page/picture.js").Edges} Edges */

/** Follows one box on the page's own live picture, for another feature. Takes pictures from its making until `stop`. */
export class Follow {
  #boxes = new Boxes();
  #readback;
  // Of the box that is followed; 0 for none
  #id = 0;
  // Time of the first small picture
  #first = 0;

  /**
   * @param {HTMLVideoElement} video
   * @param {(box: Edges, at: number, id: number) => void} onBox where it is in a picture, and that one's time by
   *   `pageTime`; id: another one with each `place`
   * @param {(id: number) => void} onLost with each picture in which it is not
   */
  constructor(video, onBox, onLost) {
    this.#boxes.on((list) => {
      const found = list.find(({ id }) => id === this.#id);
      if (found?.state === "shown" || found?.state === "fading") onBox(found.box, found.at, found.id);
      else if (found) onLost(found.id);
    });
    this.#readback = new Readback(video, (luma, width, height, at) => {
      this.#first ||= at;
      this.#boxes.frame(luma, at, width, height);
    });
    this.#readback.start();
  }

  /**
   * Follow this box, in place of the one before.
   * @param {Edges|null} box null: none
   * @param {number} [at] time of its picture
   */
  place(box, at = 0) {
    const before = this.#id;
    this.#id = box && this.#first ? this.#boxes.addBox({ box, capturedAt: Math.max(at, this.#first), label: "" }) : 0;
    if (before) this.#boxes.removeBox(before);
  }

  stop() {
    this.#readback.stop();
    this.#boxes.close();
  }
}

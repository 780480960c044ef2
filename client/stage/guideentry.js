import { byId, say, show } from "../page/dom.js";
import { Part } from "../page/part.js";
import { guideWish, keepGuideWish } from "../page/resume.js";

/** @typedef {import("../live/messages.js").AimHint} AimHint */

/**
 * The part that guides, as far as this module knows it.
 * @typedef {Object} Guidance
 * @property {() => void} prepare
 * @property {(hint: AimHint) => {text: string, shown: boolean, spoken: boolean}} take
 * @property {() => void} rest
 */

/** The button for guidance and the line of its hints. What says them loads with the first wish. */
export class GuideEntry {
  button = byId("guide", HTMLButtonElement);

  #line = byId("aim", HTMLElement);
  /** @type {Part<Guidance>} */
  #part;
  #send;
  #wanted = guideWish();
  // The camera is live, its picture is not held, and the server guides.
  #able = false;

  /**
   * @param {{address: URL, load: () => Promise<Guidance>, onMissing: (again: () => void) => void,
   *   send: (message: import("../live/messages.js").ClientMessage) => boolean}} hooks see `Part`
   */
  constructor({ send, ...part }) {
    this.#part = new Part(part);
    this.#send = send;
    this.button.addEventListener("click", () => void this.want(!this.#wanted));
    this.button.setAttribute("aria-pressed", String(this.#wanted));
  }

  /** @param {boolean} wanted */
  async want(wanted) {
    this.#wanted = wanted;
    keepGuideWish(wanted);
    this.button.setAttribute("aria-pressed", String(wanted));
    if (wanted) {
      await this.#part.open(this.button);
      this.#part.here?.prepare();
    }
    if (this.#able) this.#send({ type: "settings", guidance: this.#wanted });
    if (!this.#wanted) this.#clear();
  }

  /** @param {boolean} live the camera is, and the socket open @param {import("../live/messages.js").Ready|null} ready */
  connected(live, ready) {
    const able = live && Boolean(ready?.guides);
    show(this.button, Boolean(ready?.guides));
    if (able && !this.#able && this.#wanted) {
      void this.#part.ahead();
      this.#send({ type: "settings", guidance: true });
    }
    if (!able) this.#clear();
    this.#able = able;
  }

  /** @param {AimHint} hint */
  receive(hint) {
    const guide = this.#part.here;
    if (!guide || !this.#wanted || !this.#able) return;
    const { text, shown, spoken } = guide.take(hint);
    // A voice and a screen reader would say it twice.
    this.#line.setAttribute("aria-live", spoken ? "off" : "polite");
    this.#line.dataset.hint = hint.hint;
    show(this.#line, shown);
    say(this.#line, shown ? text : "");
  }

  #clear() {
    this.#part.here?.rest();
    show(this.#line, false);
    say(this.#line, "");
  }
}

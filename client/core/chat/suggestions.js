import { byId, show } from "../page/dom.js";

/**
 * @typedef {Object} Suggestion
 * @property {string} words on its button
 * @property {() => void} does
 */

// More have no room in one row.
const MOST = 3;

/** The row above the box: questions that fit what is in front, in place of which a feature may offer others. */
export class Suggestions {
  #offered = byId("offered", HTMLElement);
  /** @type {Map<string, Suggestion[]>} by who offers them; the last one is shown */
  #offers = new Map();

  /**
   * Show these in place of the usual ones, at most three.
   * @param {string} owner @param {Suggestion[]} offer none: no more
   */
  offer(owner, offer) {
    this.#offers.delete(owner);
    if (offer.length > 0) this.#offers.set(owner, offer.slice(0, MOST));
    const shown = [...this.#offers.values()].at(-1) ?? [];
    this.#offered.replaceChildren(
      ...shown.map(({ words, does }) => {
        const button = document.createElement("button");
        button.type = "button";
        button.textContent = words;
        button.addEventListener("click", does);
        return button;
      }),
    );
  }

  /** Lead with what is in front. @param {{text: boolean, code: boolean}} seen */
  fit({ text, code }) {
    const [scan, what, read] = ["quick-code", "quick-what", "quick-read"].map((id) => byId(id, HTMLElement));
    show(scan, code);
    show(read, !code || text);
    show(what, !code || !text);
    if (text && !code) what.before(read);
    else read.before(what);
  }
}

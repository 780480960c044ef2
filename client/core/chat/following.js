import { byId, show } from "../page/dom.js";

// Within this distance (px) from its newest words the log scrolls with them.
const NEAR_END = 48;
// Above the words of an answer that the log is scrolled to (px)
const WORDS_ROOM = 8;

/** Keeps a reader at the newest words of the log, until the reader scrolls up. */
export class Following {
  // Keeps the reader there when any height changes
  sizes;

  #log;
  #newest = byId("newest", HTMLButtonElement);
  #words;
  // True while the reader is there
  #on = true;
  // The distance by which the log was scrolled to them last (px)
  #scrolled = 0;

  /**
   * @param {HTMLElement} log
   * @param {() => HTMLElement|null} words of the newest answer, as a whole; null when something else stands below it
   * @param {() => void} resized called when any height has changed
   */
  constructor(log, words, resized) {
    this.#log = log;
    this.#words = words;
    log.addEventListener("scroll", () => {
      this.#on = this.#goal() - log.scrollTop < NEAR_END;
      show(this.#newest, !this.#on);
    });
    this.#newest.addEventListener("click", () => this.begin());
    this.sizes = new ResizeObserver(() => {
      resized();
      if (this.#on) this.follow();
    });
    this.sizes.observe(log);
  }

  /** Bring the newest words into sight. */
  begin() {
    this.expect();
    this.follow();
  }

  /** Go to the newest words with the next change. */
  expect() {
    this.#on = true;
  }

  /** Leave the reader where the reader is. */
  end() {
    this.#on = false;
  }

  follow() {
    if (!this.#on) {
      show(this.#newest, true);
      return;
    }
    const goal = this.#goal();
    // Further down the reader has scrolled, to the places or pictures below the words.
    if (this.#log.scrollTop > Math.max(goal, this.#scrolled) + 1) return;
    this.#log.scrollTop = goal;
    this.#scrolled = this.#log.scrollTop;
  }

  /** The distance by which the log scrolls (px): to its end, but not so far that the newest words begin above it. */
  #goal() {
    const log = this.#log;
    const end = log.scrollHeight - log.clientHeight;
    const words = this.#words();
    if (!words) return end;
    const above = log.getBoundingClientRect().top + log.clientTop - log.scrollTop;
    return Math.floor(Math.min(end, words.getBoundingClientRect().top - above - WORDS_ROOM));
  }
}

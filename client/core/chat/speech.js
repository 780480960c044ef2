import { settings } from "../page/settings.js";

const REMARK = "remark";
// A remark that has waited so long (ms) is no news.
const STALE = 30_000;

/** The browser's own voice: speaks one text at a time, whole or in pieces. */
export class Speech {
  /** @type {string|null} key of what is being read */
  #key = null;
  // Pieces of it that are not read to their end
  #pieces = 0;
  // A remark for later, and until when it is news (ms)
  #waiting = { text: "", until: 0 };
  #onChange;

  /** @param {(key: string|null) => void} onChange key of the text that is read now; null for none */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get supported() {
    return "speechSynthesis" in window && "SpeechSynthesisUtterance" in window;
  }

  /** True while something is read. */
  get busy() {
    return this.#key !== null;
  }

  /**
   * Read a text, or stop reading it.
   * @param {string} key
   * @param {string} text
   * @param {string} language BCP 47; "" for the page's
   */
  toggle(key, text, language) {
    const same = this.#key === key;
    this.stop();
    if (!same && text) this.queue(key, text, language);
  }

  /**
   * Read a piece of a text when the pieces before it are read; another text's are dropped.
   * @param {string} key @param {string} text @param {string} language
   * @param {{onBegin?: () => void, onAt?: (share: number) => void, onEnd?: () => void}} [hooks]
   *   onAt: this share of the piece is read, from 0 to 1; onEnd: all of it is, or the browser cannot
   */
  queue(key, text, language, { onBegin, onAt, onEnd } = {}) {
    if (this.#key !== key) this.stop();
    if (!this.supported) return;
    const utterance = new SpeechSynthesisUtterance(text);
    utterance.lang = language;
    const { voice, speed } = settings();
    const chosen = voice && speechSynthesis.getVoices().find(({ voiceURI }) => voiceURI === voice);
    // A voice reads no other language.
    if (chosen && sameLanguage(chosen.lang, language)) utterance.voice = chosen;
    utterance.rate = Number(speed);
    utterance.onstart = () => this.#key === key && onBegin?.();
    utterance.onboundary = ({ charIndex }) => this.#key === key && onAt?.(charIndex / text.length);
    utterance.onend = utterance.onerror = () => {
      if (this.#key !== key) return;
      this.#pieces -= 1;
      onEnd?.();
      if (this.#pieces === 0) this.#ended();
    };
    this.#pieces += 1;
    this.#set(key);
    speechSynthesis.speak(utterance);
  }

  /**
   * Read a short remark in place of an older one. While another text is read, the newest one waits for its end if it
   * matters, and is dropped else.
   * @param {string} text @param {boolean|number} matters a number: it is news for so long (ms)
   */
  remark(text, matters) {
    if (this.#key !== null && this.#key !== REMARK) {
      if (matters) this.#waiting = { text, until: performance.now() + (matters === true ? STALE : matters) };
      return;
    }
    this.stop();
    this.queue(REMARK, text, document.documentElement.lang);
  }

  /** Drop the current and all waiting remarks. */
  hush() {
    this.#waiting.text = "";
    this.stop(REMARK);
  }

  #ended() {
    this.#set(null);
    const { text, until } = this.#waiting;
    this.#waiting.text = "";
    if (text && performance.now() < until) this.remark(text, true);
  }

  pause() {
    if (this.#key !== null) speechSynthesis.pause();
  }

  resume() {
    if (this.#key !== null) speechSynthesis.resume();
  }

  /** @param {string} [only] stop nothing but this text */
  stop(only) {
    if (this.#key === null || (only !== undefined && only !== this.#key)) return;
    this.#pieces = 0;
    this.#set(null);
    speechSynthesis.cancel();
    // A paused queue would keep the next text waiting.
    if (speechSynthesis.paused) speechSynthesis.resume();
  }

  /** @param {string|null} key */
  #set(key) {
    if (this.#key === key) return;
    this.#key = key;
    this.#onChange(key);
  }
}

/** Highlights the part of an answer that is spoken now. Browsers without the highlight API go without. */
export class SpokenMark {
  #key = "";
  #start = 0;
  #end = 0;

  /**
   * Finds a part of a text that is shown without its marks.
   * @type {((text: Element, start: number, end: number) => Range|null)|null}
   */
  range = null;

  /** @param {string} key of the turn @param {number} start @param {number} end 0: no mark */
  mark(key, start, end) {
    [this.#key, this.#start, this.#end] = [key, start, end];
    this.draw();
  }

  /** Mark it again, because the text was redrawn. */
  draw() {
    if (!("highlights" in CSS)) return;
    const shown = this.#end > 0 ? document.getElementById(this.#key)?.querySelector(".text") : null;
    const range = shown
      ? (this.range?.(shown, this.#start, this.#end) ?? plainRange(shown, this.#start, this.#end))
      : null;
    if (!range) return void CSS.highlights.delete("spoken");
    CSS.highlights.set("spoken", new Highlight(range));
  }
}

/** @param {Element} shown @param {number} start @param {number} end @returns {Range|null} */
function plainRange(shown, start, end) {
  const text = shown.firstChild;
  if (!(text instanceof Text)) return null;
  const range = new Range();
  range.setStart(text, Math.min(start, text.length));
  range.setEnd(text, Math.min(end, text.length));
  return range;
}

/** @param {string} one BCP 47, such as "de-AT" @param {string} other "" for any */
function sameLanguage(one, other) {
  const [first, second] = [one, other].map((tag) => tag.toLowerCase().split(/[-_]/)[0]);
  return second === "" || first === second;
}

/** Reads one text at a time aloud with the browser's own voice, at once or piece by piece. */
export class Speech {
  /** @type {string|null} key of what is being read */
  #key = null;
  // Pieces of it that are not read to their end
  #pieces = 0;
  #onChange;

  /** @param {(key: string|null) => void} onChange key of the text that is read now; null for none */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  get supported() {
    return "speechSynthesis" in window && "SpeechSynthesisUtterance" in window;
  }

  /** Read a text, or stop reading it. @param {string} key @param {string} text @param {string} language BCP 47; "" for the page's */
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
    utterance.onstart = () => this.#key === key && onBegin?.();
    utterance.onboundary = ({ charIndex }) => this.#key === key && onAt?.(charIndex / text.length);
    utterance.onend = utterance.onerror = () => {
      if (this.#key !== key) return;
      this.#pieces -= 1;
      onEnd?.();
      if (this.#pieces === 0) this.#set(null);
    };
    this.#pieces += 1;
    this.#set(key);
    speechSynthesis.speak(utterance);
  }

  pause() {
    if (this.#key !== null) speechSynthesis.pause();
  }

  resume() {
    if (this.#key !== null) speechSynthesis.resume();
  }

  stop() {
    if (this.#key === null) return;
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

/** Reads one text at a time aloud with the browser's own voice. */
export class Speech {
  /** @type {string|null} key of what is being read */
  #key = null;
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
    if (same || !text) return;
    const utterance = new SpeechSynthesisUtterance(text);
    utterance.lang = language;
    utterance.onend = utterance.onerror = () => {
      if (this.#key === key) this.#set(null);
    };
    this.#set(key);
    speechSynthesis.speak(utterance);
  }

  stop() {
    if (this.#key === null) return;
    this.#set(null);
    speechSynthesis.cancel();
  }

  /** @param {string|null} key */
  #set(key) {
    this.#key = key;
    this.#onChange(key);
  }
}

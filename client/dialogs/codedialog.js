import { byId, say } from "../page/dom.js";

const ASK = "Enter the code that you were given for it.";
const WRONG = "That code is not right. Check it and try again.";

/** Asks for the server's access code. */
export class CodeDialog {
  #dialog = byId("code-dialog", HTMLDialogElement);
  #input = byId("code", HTMLInputElement);
  #text = byId("code-text", HTMLElement);
  /** @type {((code: string|null) => void)|null} */
  #answer = null;

  constructor() {
    byId("code-cancel", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("code-form", HTMLFormElement).addEventListener("submit", () => this.#settle(this.#input.value));
    // Also by the Escape key; after a submit there is nothing left to settle.
    this.#dialog.addEventListener("close", () => this.#settle(null));
  }

  /**
   * @param {boolean} wrong the code before this was refused
   * @param {string} [why] the server's words for what it asks for, or for what it did not take before
   * @returns {Promise<string|null>} null: not now
   */
  ask(wrong, why = "") {
    say(this.#text, wrong ? WRONG : why || ASK);
    this.#text.classList.toggle("problem", wrong);
    this.#dialog.showModal();
    this.#input.focus();
    return new Promise((resolve) => {
      this.#answer = resolve;
    });
  }

  /** @param {string|null} code */
  #settle(code) {
    this.#input.value = "";
    this.#answer?.(code);
    this.#answer = null;
  }
}

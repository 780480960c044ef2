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
    // Also after the Escape key; after a submit it is settled already.
    this.#dialog.addEventListener("close", () => this.#settle(null));
  }

  /**
   * @param {boolean} wrong the previous code was refused
   * @param {string} [why] the server's text about the code, or about the refusal
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

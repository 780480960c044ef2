import { byId, say } from "../page/dom.js";

/** Shows the address and token with which another device becomes the camera. */
export class OtherDialog {
  #dialog = byId("other-dialog", HTMLDialogElement);
  #address = byId("other-address", HTMLInputElement);
  #token = byId("other-token", HTMLInputElement);
  #said = byId("other-said", HTMLElement);

  constructor() {
    byId("other-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => {
      this.#token.value = "";
      say(this.#said, "");
    });
    for (const input of [this.#address, this.#token]) {
      // Select the text when the browser does not allow copying.
      byId(`${input.id}-copy`, HTMLButtonElement).addEventListener("click", () => void this.#copy(input));
    }
  }

  /** @param {{address: string, token: string}} access */
  open({ address, token }) {
    this.#address.value = address;
    this.#token.value = token;
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  close() {
    this.#dialog.close();
  }

  /** @param {HTMLInputElement} input */
  async #copy(input) {
    input.select();
    try {
      await navigator.clipboard.writeText(input.value);
      say(this.#said, "Copied.");
    } catch {
      say(this.#said, "The browser did not allow copying. It is marked: press Ctrl+C.");
    }
  }
}

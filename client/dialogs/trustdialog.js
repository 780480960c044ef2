import { byId } from "../page/dom.js";

/** How to make a device trust the server's certificate, step by step. */
export class TrustDialog {
  #dialog = byId("trust-dialog", HTMLDialogElement);

  /** @param {{onRetry: () => void}} hooks */
  constructor({ onRetry }) {
    byId("trust-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("trust-retry", HTMLButtonElement).addEventListener("click", () => {
      this.#dialog.close();
      onRetry();
    });
  }

  open() {
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  close() {
    this.#dialog.close();
  }
}

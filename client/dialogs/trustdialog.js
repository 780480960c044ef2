import { byId } from "../page/dom.js";

/** Explains step by step how a device comes to trust the server's certificate. */
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

import { byId, say } from "../page/dom.js";

/** Asks for consent before the first picture goes to another machine. */
export class DisclosureDialog {
  #dialog = byId("disclosure-dialog", HTMLDialogElement);
  #host = byId("disclosure-host", HTMLElement);
  // The last host shown; the dialog does not open for it again by itself.
  #shown = "";

  /** @param {{onAgree: (host: string) => void}} hooks */
  constructor({ onAgree }) {
    byId("disclosure-later", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("disclosure-agree", HTMLButtonElement).addEventListener("click", () => {
      const host = this.#shown;
      this.#dialog.close();
      onAgree(host);
    });
  }

  /** @param {string} host "" for none */
  render(host) {
    if (host === this.#shown) return;
    this.#shown = host;
    if (host) this.open();
    else this.#dialog.close();
  }

  open() {
    say(this.#host, this.#shown);
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

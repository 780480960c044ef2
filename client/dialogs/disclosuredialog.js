import { byId, say } from "../page/dom.js";

/** Says that pictures would go to another machine from now on, before the first one does. */
export class DisclosureDialog {
  #dialog = byId("disclosure-dialog", HTMLDialogElement);
  #host = byId("disclosure-host", HTMLElement);
  // Shown last; it does not open for it again by itself.
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

  /** @param {string} host empty: there is nothing to say */
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

import { byId, say } from "../page/dom.js";

/** Reports that a part of the page did not load, and loads it again. */
export class MissingDialog {
  #dialog = byId("missing-dialog", HTMLDialogElement);
  #again = () => {};

  constructor() {
    byId("missing-later", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    byId("missing-retry", HTMLButtonElement).addEventListener("click", () => {
      this.#dialog.close();
      this.#again();
    });
  }

  /** @param {string} part its name within a sentence @param {() => void} again */
  open(part, again) {
    this.#again = again;
    say(byId("missing-title", HTMLElement), `${part} did not arrive`);
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}

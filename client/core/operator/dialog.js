import { byId, say, show, tell } from "../page/dom.js";

/** The operator's panel: the token, and the place of its parts. Uses no connection. */
export class OperatorDialog {
  #dialog = byId("operator-dialog", HTMLDialogElement);
  #form = byId("operator-form", HTMLFormElement);
  #token = byId("operator-token", HTMLInputElement);
  #refused = byId("operator-refused", HTMLElement);
  #panel = byId("operator-panel", HTMLElement);
  #unheard = byId("operator-unheard", HTMLElement);
  #onOpen;

  /** @param {{onToken: (token: string) => void, onOpen: () => void, onClose: () => void}} hooks */
  constructor({ onToken, onOpen, onClose }) {
    this.#onOpen = onOpen;
    for (const id of ["operator-close", "operator-later"]) {
      byId(id, HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
    }
    this.#dialog.addEventListener("close", () => {
      this.#token.value = "";
      onClose();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      onToken(this.#token.value);
    });
  }

  get isOpen() {
    return this.#dialog.open;
  }

  open() {
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    if (!this.#form.hidden) this.#token.focus();
    this.#onOpen();
  }

  /** @param {import("./access.js").AccessFacts} facts */
  render({ known, refused, problem }) {
    const knew = !this.#panel.hidden;
    show(this.#form, !known);
    show(this.#panel, known);
    tell(this.#refused, known ? "" : refused);
    say(this.#unheard, problem);
    show(this.#unheard, problem !== "");
    if (!known) return;
    this.#token.value = "";
    // The focused field has disappeared.
    if (!knew) this.#panel.focus();
  }
}

import { button, made } from "../page/dom.js";
import { text } from "../words/text.js";
import { hostOf } from "./inline.js";

/** Asks before a link of an answer is opened, and shows where it leads. */
export class LinkDialog {
  #dialog = made("dialog", { id: "link-dialog" });
  #title = made("h2", { id: "link-title" });
  #host = made("strong", { dir: "ltr" });
  #warning = made("p", { className: "fine" });
  #later = button(() => this.#dialog.close());
  #address = made("p", { className: "address", dir: "ltr" });
  #open = made("a", { className: "button primary", target: "_blank", rel: "noopener noreferrer" });

  constructor() {
    this.#dialog.setAttribute("aria-labelledby", this.#title.id);
    this.#open.addEventListener("click", () => this.#dialog.close());
    const row = made("div", { className: "row" }, this.#later, this.#open);
    this.#dialog.append(this.#title, this.#address, this.#warning, row);
    document.body.append(this.#dialog);
  }

  /** @param {string} address @param {number} [most] see `hostOf` */
  ask(address, most) {
    const host = hostOf(address, most);
    if (!host) return;
    this.#title.replaceChildren(text("answer.link_leads"), " ", this.#host);
    this.#warning.textContent = text("answer.link_unchecked");
    this.#open.textContent = text("answer.open_link");
    this.#later.textContent = text("page.not_now");
    this.#host.textContent = host;
    this.#address.textContent = address;
    this.#open.href = address;
    this.#dialog.showModal();
  }
}

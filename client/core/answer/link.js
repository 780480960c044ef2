import { text } from "../words/text.js";
import { hostOf } from "./inline.js";

/** Asks before a link of an answer is opened, and shows where it leads. */
export class LinkDialog {
  #dialog = document.createElement("dialog");
  #title = document.createElement("h2");
  #host = document.createElement("strong");
  #warning = document.createElement("p");
  #later = document.createElement("button");
  #address = document.createElement("p");
  #open = document.createElement("a");

  constructor() {
    this.#dialog.id = "link-dialog";
    const title = this.#title;
    title.id = "link-title";
    this.#dialog.setAttribute("aria-labelledby", title.id);
    this.#address.className = "address";
    this.#host.dir = this.#address.dir = "ltr";
    const warning = this.#warning;
    warning.className = "fine";
    this.#open.className = "button primary";
    this.#open.target = "_blank";
    this.#open.rel = "noopener noreferrer";
    this.#open.addEventListener("click", () => this.#dialog.close());
    const later = this.#later;
    later.type = "button";
    later.addEventListener("click", () => this.#dialog.close());
    const row = document.createElement("div");
    row.className = "row";
    row.append(later, this.#open);
    this.#dialog.append(title, this.#address, warning, row);
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

import { byId, say } from "../page/dom.js";
import { isolated, number, text } from "../words/text.js";

const ASK_FOR_CODE = "dialogs.enter_code";
const WRONG_CODE = "dialogs.wrong_code";

/** Asks for the server's access code. */
class CodeDialog {
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
    say(this.#text, text(wrong ? WRONG_CODE : why || ASK_FOR_CODE));
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

/** Asks for consent before the first picture goes to another machine. */
class DisclosureDialog {
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

/** Shows the address and token with which another device becomes the camera. */
class OtherDialog {
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
      say(this.#said, text("page.copied"));
    } catch {
      say(this.#said, text("page.copy_marked"));
    }
  }
}

/** Explains step by step how a device comes to trust the server's certificate. */
class TrustDialog {
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

/** Ways to a model: the words on each, its download in GB, and what whoever runs the server types. @type {[string, number, string][]} */
const WAYS = [
  ["simple.small", 2, "bash scripts/run.sh --model small"],
  ["simple.large", 17, "vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8001"],
  ["simple.own", 0, "VLLM_BASE_URL=http://127.0.0.1:8001/v1"],
];

/** Says what the built-in engine can do, and how the server gets a model. */
class SimpleDialog {
  #dialog = byId("simple-dialog", HTMLDialogElement);
  #said = byId("simple-said", HTMLElement);

  constructor() {
    byId("simple-close", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
  }

  open() {
    say(this.#said, "");
    byId("simple-ways", HTMLElement).replaceChildren(...WAYS.map((way) => this.#way(...way)));
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  /** @param {string} words @param {number} size @param {string} command */
  #way(words, size, command) {
    const [item, about, row, code, copy] = ["li", "p", "div", "code", "button"].map((tag) => document.createElement(tag));
    about.textContent = text(words, { size: isolated(`${number(size)}\u00a0GB`) });
    row.className = "row";
    code.dir = "ltr";
    code.textContent = command;
    copy.textContent = text("page.copy");
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(command);
        say(this.#said, text("page.copied"));
      } catch {
        getSelection()?.selectAllChildren(code);
        say(this.#said, text("page.copy_marked"));
      }
    });
    row.append(code, copy);
    item.append(about, row);
    return item;
  }
}

/** The small dialogs that few people see. Loaded when needed, not with the page. */
export class Dialogs {
  code = new CodeDialog();
  other = new OtherDialog();
  simple = new SimpleDialog();
  disclosure;
  trust;

  /** @param {{onAgree: (host: string) => void, onRetry: () => void}} hooks see `DisclosureDialog` and `TrustDialog` */
  constructor({ onAgree, onRetry }) {
    this.disclosure = new DisclosureDialog({ onAgree });
    this.trust = new TrustDialog({ onRetry });
  }
}

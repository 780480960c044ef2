/** The small dialogs' connection with the visit; they load when the first one is needed. */

import { Part } from "./page/part.js";

export class DialogsEntry {
  #visit;
  #part;

  /**
   * @param {import("./live/visit.js").Visit} visit
   * @param {(missed: string, again: () => void) => void} onMissing they did not load
   * @param {(open: boolean) => void} onCameras the one that chooses the camera was opened or closed
   */
  constructor(visit, onMissing, onCameras) {
    this.#visit = visit;
    this.#part = new Part({
      address: new URL("./dialogs/dialogs.js", import.meta.url),
      load: async () => {
        const { Dialogs } = await import("./dialogs/dialogs.js");
        return new Dialogs(visit, onCameras);
      },
      onMissing: (again) => onMissing("page.missing_dialog", again),
      sheets: [new URL("./dialogs/dialogs.css", import.meta.url)],
      elements: new URL("./dialogs/dialogs.html", import.meta.url),
    });
  }

  /**
   * See `CodeDialog.ask`.
   * @param {HTMLElement} opener
   * @param {boolean} wrong
   * @param {string} [why]
   * @returns {Promise<string|null>}
   */
  async askCode(opener, wrong, why) {
    await this.#part.open(opener);
    return this.#part.here?.code.ask(wrong, why) ?? null;
  }

  /**
   * Let the person agree to what would go to another machine.
   * @param {HTMLElement} opener @param {string} words what goes where
   * @param {boolean} [kept] the answer is a setting of this device
   * @returns {Promise<boolean>}
   */
  async agree(opener, words, kept) {
    await this.#part.open(opener);
    return (await this.#part.here?.disclosure.ask(words, kept)) ?? false;
  }

  /** Load them in advance. */
  ahead() {
    return this.#part.ahead();
  }

  /** Let the person choose the camera. @param {HTMLElement} opener */
  async showCameras(opener) {
    await this.#part.open(opener);
    await this.#part.here?.cameras.open();
  }

  /** Show what basic mode can do, and the ways to a model. @param {HTMLElement} opener */
  async showSimple(opener) {
    await this.#part.open(opener);
    this.#part.here?.simple.open(this.#visit.facts);
  }

  /**
   * Do what the notice offers: explain the certificate, or ask again about another machine.
   * @param {HTMLElement} opener
   * @returns {boolean} false for neither
   */
  review(opener) {
    const { untrusted, disclose } = this.#visit.facts;
    if (!untrusted && !disclose) return false;
    void this.#part.open(opener).then(() => {
      const dialogs = this.#part.here;
      if (untrusted) return dialogs?.trust.open();
      this.#disclose();
      dialogs?.disclosure.open();
    });
    return true;
  }

  /** @param {import("./live/facts.js").Facts} facts */
  render(facts) {
    if (facts.socket === "open") this.#part.here?.trust.close(); // it trusts by now
    this.#part.here?.simple.render(facts);
    if (this.#part.here) this.#disclose();
    else if (facts.active && facts.disclose) void this.#part.ahead().then(() => this.#disclose());
  }

  #disclose() {
    const { active, disclose } = this.#visit.facts;
    this.#part.here?.disclosure.render(active ? disclose : "");
  }
}

/** @typedef {import("./messages.d.ts").Ready} Ready */

/** The other machines to which this page's pictures may go. Kept in the page's memory only. */
export class Disclosure {
  #agreed = new Set([""]);
  #seen = false;

  /**
   * @param {Ready} ready
   * @returns {{ask: string, confirm: string}} ask: the machine that the user has to agree to before any question;
   *   confirm: a machine agreed to earlier, which has to be confirmed to the server. "" for none.
   */
  look({ elsewhere, confirmed }) {
    // The first engine of the page, which the server confirmed: nothing has changed.
    if (!this.#seen && confirmed) this.#agreed.add(elsewhere);
    this.#seen = true;
    if (!this.#agreed.has(elsewhere)) return { ask: elsewhere, confirm: "" };
    return { ask: "", confirm: confirmed ? "" : elsewhere };
  }

  /** @param {string} host */
  agree(host) {
    this.#agreed.add(host);
  }
}

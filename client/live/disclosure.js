/** @typedef {import("./messages.js").Ready} Ready */

/** To which machines beside the server's own this page's pictures may go. Kept in this page's memory only. */
export class Disclosure {
  #agreed = new Set([""]);
  #seen = false;

  /**
   * @param {Ready} ready
   * @returns {{ask: string, confirm: string}} ask: the machine that the person has to agree to before anything is asked;
   *   confirm: the one that the server has to be told of, agreed to earlier. Empty for none.
   */
  look({ elsewhere, confirmed }) {
    // Where the page began: that is how this server works, and nothing changed.
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

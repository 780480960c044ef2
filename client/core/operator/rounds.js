/** Looks at once and then again and again, as long as somebody watches. Uses no DOM. */
export class Rounds {
  #look;
  #watching = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /**
   * @param {(method?: "POST"|"DELETE") => Promise<number|null>} look returns the pause (ms) until the next one; null
   *   for none
   */
  constructor(look) {
    this.#look = look;
  }

  get watching() {
    return this.#watching;
  }

  /** @param {boolean} on */
  watch(on) {
    if (on === this.#watching) return;
    this.#watching = on;
    clearTimeout(this.#timer);
    if (on) void this.look();
  }

  /**
   * Look now and restart the pause.
   * @param {"POST"|"DELETE"} [method] of a look that changes something
   */
  async look(method) {
    clearTimeout(this.#timer);
    this.again(await this.#look(method));
  }

  /** @param {number|null} pause until the next look (ms); null for none */
  again(pause) {
    clearTimeout(this.#timer);
    if (this.#watching && pause !== null) this.#timer = setTimeout(() => void this.look(), pause);
  }
}

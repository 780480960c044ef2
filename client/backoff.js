/** Waiting times that double up to a limit; half of each is chance, so that pages do not come back all at once. */
export class Backoff {
  #attempt = 0;
  #first;
  #most;

  /** @param {{first?: number, most?: number}} [times] milliseconds */
  constructor({ first = 500, most = 15_000 } = {}) {
    this.#first = first;
    this.#most = most;
  }

  /**
   * @param {number} [least] milliseconds that the other side asked for
   * @returns {number} milliseconds
   */
  next(least = 0) {
    const full = Math.min(this.#most, this.#first * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 16);
    return least + full / 2 + (Math.random() * full) / 2;
  }

  reset() {
    this.#attempt = 0;
  }
}

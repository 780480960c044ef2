// Up to here a break may be a short one, and whoever waits wants to be back soon after it.
const SHORT = 90_000;

/**
 * Waiting times that double up to a limit, which is low at first and high for a break that lasts. Half of each is
 * chance, so that pages do not come back all at once.
 */
export class Backoff {
  #attempt = 0;
  // performance.now() of the first failure; null while all is well
  #since = /** @type {number|null} */ (null);

  /**
   * @param {number} [least] milliseconds that the other side asked for
   * @returns {number} milliseconds
   */
  next(least = 0) {
    const now = performance.now();
    this.#since ??= now;
    const most = now - this.#since < SHORT ? 2000 : 15_000;
    const full = Math.min(most, 400 * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 16);
    return least + full / 2 + (Math.random() * full) / 2;
  }

  reset() {
    this.#attempt = 0;
    this.#since = null;
  }
}

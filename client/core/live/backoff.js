// Milliseconds for which an outage counts as short, so that retries stay frequent.
const SHORT = 90_000;

/**
 * Waiting times that double up to a limit, which is low at first and high for a long outage. Half of each is random, so
 * that pages do not reconnect all at once.
 */
export class Backoff {
  #attempt = 0;
  // performance.now() of the first failure; null without one
  #since = /** @type {number|null} */ (null);

  /**
   * @param {number} [least] milliseconds that the server requested
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

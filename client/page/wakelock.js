/** Keeps the screen on while wanted. A hidden page loses the lock, so it is requested again when the page is shown. */
export class ScreenLock {
  #wanted = false;
  /** @type {WakeLockSentinel|null} */
  #lock = null;
  #asking = false;

  constructor() {
    document.addEventListener("visibilitychange", () => void this.#settle());
  }

  /** @param {boolean} wanted */
  want(wanted) {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    void this.#settle();
  }

  async #settle() {
    if (this.#wanted && !this.#lock && !this.#asking && !document.hidden && "wakeLock" in navigator) {
      this.#asking = true;
      try {
        const lock = await navigator.wakeLock.request("screen");
        lock.addEventListener("release", () => {
          if (this.#lock === lock) this.#lock = null;
        });
        this.#lock = lock;
      } catch {
        // The system may refuse it, for example with a low battery.
      } finally {
        this.#asking = false;
      }
    }
    if (!this.#wanted && this.#lock) {
      const lock = this.#lock;
      this.#lock = null;
      await lock.release();
    }
  }
}

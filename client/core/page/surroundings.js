/** Milliseconds between two readings of the clock. During sleep timers stop, and afterwards the clock has jumped. */
const LOOK_EVERY = 2000;
const JUMP = 8000;

/**
 * Watch the surroundings of the page: networks, sleep of the device, connected cameras.
 * @param {{onOnline: () => void, onOffline: () => void, onNetwork: () => void, onWoke: (ms: number) => void,
 *   onDevices: () => void, onHidden: () => void, onShown: () => void, onLeave: () => void}} hooks
 *   onOnline: there is a network again; onNetwork: another network, with other addresses; onWoke: the device slept for
 *   this time; onLeave: the page is closed, or kept for the way back
 */
export function watchSurroundings({ onOnline, onOffline, onNetwork, onWoke, onDevices, onHidden, onShown, onLeave }) {
  document.addEventListener("visibilitychange", () => (document.hidden ? onHidden() : onShown()));
  window.addEventListener("pagehide", onLeave);
  window.addEventListener("pageshow", (event) => event.persisted && onShown());
  window.addEventListener("online", onOnline);
  window.addEventListener("offline", onOffline);
  // Only some browsers have it, and `change` also fires for estimates of the speed.
  const connection = /** @type {any} */ (navigator).connection;
  let type = connection?.type;
  connection?.addEventListener?.("change", () => {
    if (connection.type === type) return;
    type = connection.type;
    if (type !== "none") onNetwork();
  });
  navigator.mediaDevices?.addEventListener?.("devicechange", onDevices);
  // Not performance.now(), which stands still during sleep in some browsers.
  let at = Date.now();
  const look = () => {
    const late = Date.now() - at - LOOK_EVERY;
    at = Date.now();
    // Browsers slow down the timers of hidden pages, so this waits until the page is shown.
    if (late > JUMP && !document.hidden) onWoke(late);
  };
  setInterval(look, LOOK_EVERY);
  document.addEventListener("visibilitychange", look);
}

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

import { text } from "../words/text.js";
import { byId } from "./dom.js";

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
    // Timers of hidden pages are slow: this waits until it is shown.
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

/**
 * Keep the page as high as its visible part, so that the keyboard shrinks it instead of covering it.
 * @param {() => void} onChange called after each change of size
 */
export function followViewport(onChange) {
  const visible = window.visualViewport;
  const root = document.documentElement;
  // The picture's size without a keyboard
  let [width, height] = [0, 0];
  const fit = () => {
    const typing = document.activeElement?.matches("textarea, input");
    if (!typing || innerWidth !== width || innerHeight > height) [width, height] = [innerWidth, innerHeight];
    root.style.setProperty("--stage-height", `${height}px`);
    // Keep the layout while the user has zoomed in.
    if (visible && visible.scale <= 1.01) {
      root.style.setProperty("--app-height", `${Math.round(visible.height)}px`);
      root.style.setProperty("--app-top", `${Math.round(visible.offsetTop)}px`);
    } else {
      root.style.removeProperty("--app-height");
      root.style.removeProperty("--app-top");
    }
    onChange();
  };
  visible?.addEventListener("resize", fit);
  visible?.addEventListener("scroll", fit);
  window.addEventListener("resize", fit);
  fit();
}

// Movement (px) from which on a finger on the handle drags, and does not tap
const DRAGS_FROM = 8;

/** The sheet of the chat below the picture: low or tall, by a tap on its handle or by dragging it. */
export class Sheet {
  handle = byId("sheet-handle", HTMLButtonElement);

  #app;
  // The finger's way since it went down, and the sheet's height then; null without a finger
  /** @type {{y: number, height: number, dragged: boolean}|null} */
  #drag = null;
  #dragged = false;

  /** @param {HTMLElement} app @param {HTMLElement} panel the sheet */
  constructor(app, panel) {
    this.#app = app;
    this.handle.addEventListener("click", () => {
      // The end of dragging is a click, too.
      if (!this.#dragged) this.grow(!this.#tall);
      this.#dragged = false;
    });
    this.handle.addEventListener("pointerdown", ({ clientY, pointerId }) => {
      this.handle.setPointerCapture(pointerId);
      this.#drag = { y: clientY, height: panel.offsetHeight, dragged: false };
      this.#dragged = false;
    });
    this.handle.addEventListener("pointermove", ({ clientY }) => {
      if (!this.#drag) return;
      const moved = this.#drag.y - clientY;
      this.#drag.dragged ||= Math.abs(moved) >= DRAGS_FROM;
      if (!this.#drag.dragged) return;
      app.classList.add("pulling");
      app.style.setProperty("--pulled", `${this.#drag.height + moved}px`);
    });
    const release = (/** @type {PointerEvent} */ { clientY }) => {
      const drag = this.#drag;
      this.#drag = null;
      app.classList.remove("pulling");
      app.style.removeProperty("--pulled");
      this.#dragged = Boolean(drag?.dragged);
      if (drag?.dragged) this.grow(clientY < drag.y);
    };
    this.handle.addEventListener("pointerup", release);
    this.handle.addEventListener("pointercancel", release);
  }

  get #tall() {
    return this.#app.classList.contains("tall");
  }

  /** Let the sheet cover most of the picture, or not. @param {boolean} tall */
  grow(tall) {
    this.#app.classList.toggle("tall", tall);
    this.handle.setAttribute("aria-expanded", String(tall));
    this.handle.setAttribute("aria-label", tall ? text("page.chat_less") : text("page.chat_more"));
  }
}

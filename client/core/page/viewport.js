import { text } from "../words/text.js";
import { byId } from "./dom.js";

/**
 * Keep the page as high as its visible part, so that the keyboard shrinks it instead of covering it.
 * @param {() => void} onChange called after each change of size
 */
export function followViewport(onChange) {
  const visible = window.visualViewport;
  const root = document.documentElement;
  const fit = () => {
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

/** Milliseconds until a part that is on its way counts as missing. */
const PATIENCE = 20_000;

/**
 * A part of the page that is fetched when somebody opens it.
 * @template {{open: () => void}} T
 */
export class Part {
  /** @type {T|null} null until it is here */
  here = null;

  /** @type {Promise<T>|null} while it is on its way */
  #coming = null;
  #opening = false;
  #load;
  #onMissing;

  /**
   * @param {{load: () => Promise<T>, onMissing: (again: () => void) => void}} hooks
   *   load: imports the modules and makes the part; onMissing: it did not come, and `again` tries once more
   */
  constructor({ load, onMissing }) {
    this.#load = load;
    this.#onMissing = onMissing;
  }

  /** Open it, and fetch it first where it is not here. @param {HTMLElement} opener looks busy meanwhile */
  async open(opener) {
    if (this.here) return this.here.open();
    if (this.#opening) return;
    this.#opening = true;
    opener.setAttribute("aria-busy", "true");
    const part = await this.#inTime();
    opener.removeAttribute("aria-busy");
    this.#opening = false;
    if (part) part.open();
    else this.#onMissing(() => void this.open(opener));
  }

  /** Fetch it before anybody opens it. Where it does not come, whoever opens it is told. */
  async ahead() {
    if (!this.here) await this.#inTime();
  }

  /** @returns {Promise<T|null>} null: it did not come */
  async #inTime() {
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    let timer;
    /** @type {Promise<null>} */
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, PATIENCE, null);
    });
    this.#coming ??= this.#begin();
    try {
      return await Promise.race([this.#coming, late]);
    } catch (error) {
      // The browser says so where the network is to blame; anything else is a mistake in the part.
      console.warn("A part of the page did not load:", error);
      return null;
    } finally {
      clearTimeout(timer);
    }
  }

  async #begin() {
    try {
      return (this.here = await this.#load());
    } finally {
      // One that failed is begun anew.
      this.#coming = null;
    }
  }
}

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
  #address;
  #load;
  #onMissing;

  /**
   * @param {{address: URL, load: () => Promise<T>, onMissing: (again: () => void) => void}} hooks
   *   address: the part's first module; load: imports it and makes the part; onMissing: it did not come, and `again` tries
   *   once more
   */
  constructor({ address, load, onMissing }) {
    this.#address = address;
    this.#load = load;
    this.#onMissing = onMissing;
  }

  /** Open it, and fetch it first where it is not here. @param {HTMLElement} opener looks busy meanwhile */
  async open(opener) {
    if (this.here) return this.here.open();
    if (this.#opening) return;
    this.#opening = true;
    opener.setAttribute("aria-busy", "true");
    try {
      (await this.#inTime()).open();
    } catch (error) {
      // Mostly the network, of which the person is told; a mistake in the part would look the same to them.
      console.warn("A part of the page did not load:", error);
      this.#onMissing(() => void this.open(opener));
    } finally {
      opener.removeAttribute("aria-busy");
      this.#opening = false;
    }
  }

  /** Fetch it before anybody opens it. Where it does not come, whoever opens it is told. */
  async ahead() {
    try {
      if (!this.here) await this.#inTime();
    } catch {
      // As said: nobody waits for it yet.
    }
  }

  /** @returns {Promise<T>} @throws where it does not come */
  async #inTime() {
    /** @type {ReturnType<typeof setTimeout>|undefined} */
    let timer;
    /** @type {Promise<never>} */
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`It did not come in ${PATIENCE / 1000} s.`)), PATIENCE);
    });
    this.#coming ??= this.#begin();
    try {
      return await Promise.race([this.#coming, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #begin() {
    try {
      // An import that failed fails for ever in some browsers, Firefox among them: it begins when the server answers.
      const { ok, status } = await fetch(this.#address, { signal: AbortSignal.timeout(PATIENCE) });
      if (!ok) throw new Error(`The server answered ${status}.`);
      return (this.here = await this.#load());
    } finally {
      // One that failed is begun anew.
      this.#coming = null;
    }
  }
}

/** Milliseconds after which a loading part counts as missing. */
const PATIENCE = 20_000;

/** Make a call that runs once, so many milliseconds after it was first wanted. @param {number} ms @param {() => void} call */
export function onceLater(ms, call) {
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  return () => {
    timer ||= setTimeout(call, ms);
  };
}

/**
 * A part of the page that is loaded when it is opened.
 * @template {{open?: () => void}} T
 */
export class Part {
  /** @type {T|null} null until it is loaded */
  here = null;

  /** @type {Promise<T>|null} set while it loads */
  #coming = null;
  #opening = false;
  #address;
  #load;
  #onMissing;

  /**
   * @param {{address: URL, load: () => Promise<T>, onMissing: (again: () => void) => void}} hooks
   *   address: the part's first module; load: imports it and creates the part; onMissing: it did not load, and `again`
   *   tries once more
   */
  constructor({ address, load, onMissing }) {
    this.#address = address;
    this.#load = load;
    this.#onMissing = onMissing;
  }

  /** Open it, and load it first if necessary. @param {HTMLElement} opener looks busy meanwhile */
  async open(opener) {
    if (this.here) return this.here.open?.();
    if (this.#opening) return;
    this.#opening = true;
    opener.setAttribute("aria-busy", "true");
    try {
      (await this.#inTime()).open?.();
    } catch (error) {
      // Usually the network, which the message names; an error in the part would look the same.
      console.warn("A part of the page did not load:", error);
      this.#onMissing(() => void this.open(opener));
    } finally {
      opener.removeAttribute("aria-busy");
      this.#opening = false;
    }
  }

  /** Load it in advance. A failure is reported only when it is opened. */
  async ahead() {
    if (this.here) return;
    try {
      await this.#inTime();
    } catch {
      // Reported when it is opened.
    }
  }

  /** @returns {Promise<T>} @throws when it does not load in time */
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
      // In some browsers (Firefox) a failed import fails for ever, so import only once the server responds.
      const { ok, status } = await fetch(this.#address, { signal: AbortSignal.timeout(PATIENCE) });
      if (!ok) throw new Error(`The server answered ${status}.`);
      return (this.here = await this.#load());
    } finally {
      // Allow another attempt.
      this.#coming = null;
    }
  }
}

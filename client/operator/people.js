import { ApiError } from "../live/api.js";

/**
 * Somebody's session, as the operator sees it.
 * @typedef {{name: string, age_seconds: number, idle_seconds: number, camera: string, socket: boolean, device: string}} Seen
 */

/**
 * A paired device that came since the server's start.
 * @typedef {{name: string, kind: string, paired_seconds: number, seen_seconds: number}} Device
 */

/** @typedef {{sessions: Seen[], devices: Device[], problem: string}} PeopleFacts */

const LOOK_EVERY = 5000;
const ADDRESS = "/api/operator";

/** Who is in, for the operator. Knows no page. */
export class PeopleDesk {
  /** @type {PeopleFacts} */
  facts = { sessions: [], devices: [], problem: "" };

  #ask;
  #onChange;
  #watching = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {{ask: import("./engine.js").EngineDesk["ask"], onChange: (facts: PeopleFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on somebody looks, and has the token */
  watch(on) {
    if (on === this.#watching) return;
    this.#watching = on;
    clearTimeout(this.#timer);
    if (on) void this.#look();
  }

  /** @param {"sessions"|"devices"} kind @param {string} [name] all of them without one */
  async end(kind, name = "") {
    try {
      await this.#ask("DELETE", `${ADDRESS}/${kind}${name && "/"}${name}`);
    } catch (error) {
      return this.#failed(error);
    }
    await this.#look();
  }

  async #look() {
    clearTimeout(this.#timer);
    try {
      const { sessions } = await this.#ask("GET", `${ADDRESS}/sessions`);
      const { devices } = await this.#ask("GET", `${ADDRESS}/devices`);
      this.#set({ sessions, devices, problem: "" });
    } catch (error) {
      this.#failed(error);
    }
    clearTimeout(this.#timer);
    if (this.#watching) this.#timer = setTimeout(() => void this.#look(), LOOK_EVERY);
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof ApiError)) throw error;
    this.#set({ problem: error.message });
  }

  /** @param {Partial<PeopleFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

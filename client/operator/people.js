import { ApiError } from "../live/api.js";
import { Rounds } from "./rounds.js";

/**
 * A visitor's session.
 * @typedef {{name: string, age_seconds: number, idle_seconds: number, camera: string, socket: boolean, device: string, questions: number, background: number, visual_tokens: number}} Seen
 */

/**
 * A paired device that has connected since the server's start.
 * @typedef {{name: string, kind: string, paired_seconds: number, seen_seconds: number}} Device
 */

/** @typedef {{sessions: Seen[], devices: Device[], problem: string}} PeopleFacts */

const LOOK_EVERY = 5000;
const ADDRESS = "/api/operator";

/** Reads and ends visitors' sessions and pairings for the operator. Uses no DOM. */
export class PeopleDesk {
  /** @type {PeopleFacts} */
  facts = { sessions: [], devices: [], problem: "" };

  #ask;
  #onChange;
  #rounds = new Rounds(() => this.#look());

  /** @param {{ask: import("./engine.js").EngineDesk["ask"], onChange: (facts: PeopleFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    this.#rounds.watch(on);
  }

  /** @param {"sessions"|"devices"} kind @param {string} [name] without it: all */
  async end(kind, name = "") {
    try {
      await this.#ask("DELETE", `${ADDRESS}/${kind}${name && "/"}${name}`);
    } catch (error) {
      return this.#failed(error);
    }
    await this.#rounds.look();
  }

  async #look() {
    try {
      const { sessions } = await this.#ask("GET", `${ADDRESS}/sessions`);
      const { devices } = await this.#ask("GET", `${ADDRESS}/devices`);
      this.#set({ sessions, devices, problem: "" });
    } catch (error) {
      this.#failed(error);
    }
    return LOOK_EVERY;
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

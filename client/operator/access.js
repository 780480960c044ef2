import { ApiError } from "../live/api.js";
import { Rounds } from "./rounds.js";

/**
 * A program that may look: through a visitor's session, or a camera of the house.
 * @typedef {{session: string, camera: string, id: string, name: string, scopes: string[], expires_at: number, last_used: number|null, looks: number}} Access
 */

/** @typedef {{programs: Access[], problem: string}} AccessFacts */

const LOOK_EVERY = 5000;
const ADDRESS = "/api/operator";

/** Reads and ends the access of other programs for the operator. Uses no DOM. */
export class AccessDesk {
  /** @type {AccessFacts} */
  facts = { programs: [], problem: "" };

  #ask;
  #onChange;
  #rounds = new Rounds(() => this.#look());

  /** @param {{ask: import("./making.js").Ask, onChange: (facts: AccessFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    this.#rounds.watch(on);
  }

  /** @param {Access} program */
  async end({ session, camera, id }) {
    try {
      await this.#ask("DELETE", camera ? `${ADDRESS}/cameras/${camera}/grants/${id}` : `${ADDRESS}/programs/${session}/${id}`);
    } catch (error) {
      return this.#failed(error);
    }
    await this.#rounds.look();
  }

  async #look() {
    try {
      const { programs } = await this.#ask("GET", `${ADDRESS}/programs`);
      const { cameras } = await this.#ask("GET", `${ADDRESS}/cameras`);
      /** @type {Access[]} */
      const found = [];
      for (const { name, programs: own } of cameras) for (const one of own) found.push({ ...one, session: "", camera: name });
      for (const one of programs) found.push({ ...one, camera: "" });
      this.facts = { programs: found, problem: "" };
      this.#onChange(this.facts);
    } catch (error) {
      this.#failed(error);
    }
    return LOOK_EVERY;
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof ApiError)) throw error;
    this.facts.problem = error.message;
    this.#onChange(this.facts);
  }
}

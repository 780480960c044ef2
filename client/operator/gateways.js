import { ApiError } from "../live/api.js";
import { Rounds } from "./rounds.js";

/** @typedef {{name: string, sessions: number, most: number, draining: boolean}} Gateway */

/**
 * The gateway that this page talks to, and all of them.
 * @typedef {Object} DrainReport
 * @property {string} name "" for a server that is alone
 * @property {boolean} draining
 * @property {boolean} stopping by a signal: nothing brings it back
 * @property {number} people who are here
 * @property {number} moved
 * @property {number} notice_seconds until people go
 * @property {number} room places at other gateways
 * @property {Gateway[]} gateways
 */

/** @typedef {{report: DrainReport|null, busy: boolean, problem: string}} GatewaysFacts */

// Between two looks (ms), and while people go
const LOOK_EVERY = 5000;
const LOOK_SOON = 1000;
const ADDRESS = "/api/operator/drain";

/** Reads the gateways for the operator, and drains the one that this page talks to. Uses no DOM. */
export class GatewaysDesk {
  /** @type {GatewaysFacts} */
  facts = { report: null, busy: false, problem: "" };

  #ask;
  #onChange;
  #rounds = new Rounds((method = "GET") => this.#request(method));

  /** @param {{ask: import("./engine.js").EngineDesk["ask"], onChange: (facts: GatewaysFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    this.#rounds.watch(on);
  }

  /** @param {boolean} on false: take people again */
  async drain(on) {
    if (this.facts.busy) return;
    this.#set({ busy: true });
    await this.#rounds.look(on ? "POST" : "DELETE");
    this.#set({ busy: false });
  }

  /** @param {"GET"|"POST"|"DELETE"} method */
  async #request(method) {
    try {
      this.#set({ report: await this.#ask(method, ADDRESS), problem: "" });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#set({ problem: error.message });
    }
    return this.facts.report?.gateways.some((one) => one.draining) ? LOOK_SOON : LOOK_EVERY;
  }

  /** @param {Partial<GatewaysFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

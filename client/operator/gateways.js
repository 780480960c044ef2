import { WatchingDesk } from "./desk.js";

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

/**
 * Reads the gateways for the operator, and drains the one that this page talks to. Uses no DOM.
 * @extends {WatchingDesk<GatewaysFacts>}
 */
export class GatewaysDesk extends WatchingDesk {
  /** @param {{ask: import("./desk.js").Ask, onChange: (facts: GatewaysFacts) => void}} hooks */
  constructor(hooks) {
    super({ report: null, busy: false, problem: "" }, hooks);
  }

  /** @param {boolean} on false: take people again */
  async drain(on) {
    if (this.facts.busy) return;
    this.set({ busy: true });
    await this.rounds.look(on ? "POST" : "DELETE");
    this.set({ busy: false });
  }

  /** @param {"GET"|"POST"|"DELETE"} method */
  async look(method = "GET") {
    await this.attempt(async () => this.set({ report: await this.ask(method, ADDRESS), problem: "" }));
    return this.facts.report?.gateways.some((one) => one.draining) ? LOOK_SOON : LOOK_EVERY;
  }
}

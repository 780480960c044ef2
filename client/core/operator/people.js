import { WatchingDesk } from "./desk.js";

/**
 * A visitor's session.
 * @typedef {{name: string, age_seconds: number, idle_seconds: number, camera: string, socket: boolean, device: string,
 *   questions: number, background: number, visual_tokens: number}} Seen
 */

/**
 * A paired device that has connected since the server's start.
 * @typedef {{name: string, kind: string, paired_seconds: number, seen_seconds: number}} Device
 */

/** @typedef {{sessions: Seen[], devices: Device[], problem: string}} PeopleFacts */

const LOOK_EVERY = 5000;
const ADDRESS = "/api/operator";

/**
 * Reads and ends visitors' sessions and pairings for the operator. Uses no DOM.
 * @extends {WatchingDesk<PeopleFacts>}
 */
export class PeopleDesk extends WatchingDesk {
  #devices;

  /**
   * @param {{ask: import("./desk.js").Ask, onChange: (facts: PeopleFacts) => void, devices: () => boolean}} hooks
   *   devices: they can be paired here
   */
  constructor({ devices, ...hooks }) {
    super({ sessions: [], devices: [], problem: "" }, hooks);
    this.#devices = devices;
  }

  /** @param {"sessions"|"devices"} kind @param {string} [name] without it: all */
  async end(kind, name = "") {
    const ended = await this.attempt(() => this.ask("DELETE", `${ADDRESS}/${kind}${name && "/"}${name}`));
    if (ended) await this.rounds.look();
  }

  async look() {
    await this.attempt(async () => {
      const { sessions } = await this.ask("GET", `${ADDRESS}/sessions`);
      const { devices } = this.#devices() ? await this.ask("GET", `${ADDRESS}/devices`) : { devices: [] };
      this.set({ sessions, devices, problem: "" });
    });
    return LOOK_EVERY;
  }
}

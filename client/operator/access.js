import { WatchingDesk } from "./desk.js";

/**
 * A program that may look: through a visitor's session, or a camera of the house.
 * @typedef {{session: string, camera: string, id: string, name: string, scopes: string[], expires_at: number, last_used: number|null, looks: number}} Access
 */

/** @typedef {{programs: Access[], problem: string}} AccessFacts */

const LOOK_EVERY = 5000;
const ADDRESS = "/api/operator";

/** Reads and ends the access of other programs for the operator. Uses no DOM. @extends {WatchingDesk<AccessFacts>} */
export class AccessDesk extends WatchingDesk {
  /** @param {{ask: import("./desk.js").Ask, onChange: (facts: AccessFacts) => void}} hooks */
  constructor(hooks) {
    super({ programs: [], problem: "" }, hooks);
  }

  /** @param {Access} program */
  async end({ session, camera, id }) {
    const path = camera ? `${ADDRESS}/cameras/${camera}/grants/${id}` : `${ADDRESS}/programs/${session}/${id}`;
    const ended = await this.attempt(async () => void (await this.ask("DELETE", path)));
    if (ended) await this.rounds.look();
  }

  /** @override */
  async look() {
    await this.attempt(async () => {
      const { programs } = await this.ask("GET", `${ADDRESS}/programs`);
      const { cameras } = await this.ask("GET", `${ADDRESS}/cameras`);
      /** @type {Access[]} */
      const found = [];
      for (const { name, programs: own } of cameras) for (const one of own) found.push({ ...one, session: "", camera: name });
      for (const one of programs) found.push({ ...one, camera: "" });
      this.set({ programs: found, problem: "" });
    });
    return LOOK_EVERY;
  }
}

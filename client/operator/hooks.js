import { WatchingDesk } from "./desk.js";

/**
 * A receiver of webhooks.
 * @typedef {{name: string, host: string, state: "unused"|"ok"|"failing"|"gone", detail: string, status: number, cameras: string[], people: boolean, waiting: number, delivered: number, failed: number}} Hook
 */

/** An alarm that was given up. @typedef {{id: string, webhook: string, camera: string, attempts: number, trouble: string, status: number, since_seconds: number}} Letter */

/** @typedef {{webhooks: Hook[], dead: Letter[], problem: string}} HooksFacts */

const LOOK_EVERY = 3000;
const ADDRESS = "/api/operator/webhooks";

/**
 * Reads the state of webhooks for the operator, and sends what was given up again. Uses no DOM.
 * @extends {WatchingDesk<HooksFacts>}
 */
export class HooksDesk extends WatchingDesk {
  /** @param {{ask: import("./desk.js").Ask, onChange: (facts: HooksFacts) => void}} hooks */
  constructor(hooks) {
    super({ webhooks: [], dead: [], problem: "" }, hooks);
  }

  async look() {
    await this.send("GET", "");
    return LOOK_EVERY;
  }

  /** @param {"GET"|"POST"|"DELETE"} method @param {string} path below the webhooks */
  async send(method, path) {
    await this.attempt(async () => {
      const { webhooks, dead } = await this.ask(method, ADDRESS + path);
      this.set({ webhooks, dead, problem: "" });
    });
  }
}

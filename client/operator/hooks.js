import { Rounds } from "./rounds.js";
import { ApiError } from "../live/api.js";

/**
 * A receiver of webhooks.
 * @typedef {{name: string, host: string, state: "unused"|"ok"|"failing"|"gone", detail: string, status: number, cameras: string[], people: boolean, waiting: number, delivered: number, failed: number}} Hook
 */

/** An alarm that was given up. @typedef {{id: string, webhook: string, camera: string, attempts: number, trouble: string, status: number, since_seconds: number}} Letter */

/** @typedef {{webhooks: Hook[], dead: Letter[], problem: string}} HooksFacts */

const LOOK_EVERY = 3000;
const ADDRESS = "/api/operator/webhooks";

/** Reads the state of webhooks for the operator, and sends what was given up again. Uses no DOM. */
export class HooksDesk {
  /** @type {HooksFacts} */
  facts = { webhooks: [], dead: [], problem: "" };

  #ask;
  #onChange;
  #rounds = new Rounds(async () => {
    await this.#try("GET", "");
    return LOOK_EVERY;
  });

  /** @param {{ask: import("./making.js").Ask, onChange: (facts: HooksFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    this.#rounds.watch(on);
  }

  /** @param {"POST"|"DELETE"} method @param {string} path below the webhooks */
  async send(method, path) {
    await this.#try(method, path);
  }

  /** @param {"GET"|"POST"|"DELETE"} method @param {string} path */
  async #try(method, path) {
    try {
      const { webhooks, dead } = await this.#ask(method, ADDRESS + path);
      this.facts = { webhooks, dead, problem: "" };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.facts.problem = error.message;
    }
    this.#onChange(this.facts);
  }
}

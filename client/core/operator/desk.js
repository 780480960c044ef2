import { ApiError } from "../live/api.js";
import { Rounds } from "./rounds.js";
import { failure } from "./words.js";

/**
 * A request to the operator's routes.
 * @typedef {(method: "GET"|"POST"|"DELETE", path: string, body?: object, as?: "json"|"blob") => Promise<any>} Ask
 */

/**
 * A part of the operator's panel: the facts that its view shows, and the requests behind them. Uses no DOM.
 * @template {{problem: string}} Facts
 */
export class Desk {
  #onChange;

  /** @param {Facts} facts @param {{ask: Ask, onChange: (facts: Facts) => void}} hooks */
  constructor(facts, { ask, onChange }) {
    this.facts = facts;
    this.ask = ask;
    this.#onChange = onChange;
  }

  /** @param {Partial<Facts>} [change] without it: something within the facts has changed */
  set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }

  /**
   * Make requests, and show the reason where one fails.
   * @param {() => Promise<void>} work
   * @returns {Promise<boolean>} true when none failed
   */
  async attempt(work) {
    try {
      await work();
      return true;
    } catch (error) {
      this.failed(error);
      return false;
    }
  }

  /** Show why a request failed; what is no failed request goes on. @param {unknown} error */
  failed(error) {
    if (!(error instanceof ApiError)) throw error;
    this.set({ problem: failure(error) });
  }
}

/**
 * A desk that asks again and again while the panel is open.
 * @template {{problem: string}} Facts
 * @extends {Desk<Facts>}
 */
export class WatchingDesk extends Desk {
  rounds = new Rounds((method) => this.look(method));

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    this.rounds.watch(on);
  }

  /**
   * Ask once. @abstract
   * @param {"POST"|"DELETE"} [_method] of a request that changes something
   * @returns {Promise<number|null>} the pause (ms) until the next one; null when there is nothing to ask until
   *   something is done
   */
  async look(_method) {
    throw new Error("each desk has its own");
  }
}

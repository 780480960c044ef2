import { ApiError } from "../../../core/live/api.js";
import { WatchingDesk } from "../../../core/operator/desk.js";
import { underWay } from "./words.js";

/**
 * The model that the server fetches, as in GET /api/engine/fetch.
 * @typedef {Object} Fetching
 * @property {"idle"|"fetching"|"checking"|"paused"|"failed"|"done"} state
 * @property {string} model id of the catalogue; "" for none
 * @property {number} done_bytes
 * @property {number} total_bytes 0: unknown
 * @property {number|null} free_bytes on the server's disk; null: unknown
 * @property {string} error why the last one failed, and what to do
 * @property {string} refused why nothing can be fetched from here; "" where it can
 */

/**
 * @typedef {Object} FetchFacts
 * @property {Fetching|null} fetching null while unknown
 * @property {boolean} busy a request is running
 * @property {string} problem why a request failed
 */

// Interval (ms) of requests while something is fetched.
const LOOK_AGAIN = 1500;
const ADDRESS = "/api/engine/fetch";

/**
 * Fetches models for the operator. Uses no DOM.
 * @extends {WatchingDesk<FetchFacts>}
 */
export class FetchDesk extends WatchingDesk {
  #onHere;

  /**
   * @param {{ask: import("../../../core/operator/desk.js").Ask, onChange: (facts: FetchFacts) => void,
   *   onHere: () => void}} hooks onHere: a model has come
   */
  constructor({ onHere, ...hooks }) {
    super({ fetching: null, busy: false, problem: "" }, hooks);
    this.#onHere = onHere;
  }

  /** Fetch a model, or go on with it. @param {string} model */
  async start(model) {
    await this.#act("POST", { model });
  }

  /** The part that came is kept. */
  async pause() {
    await this.#act("DELETE");
  }

  /** @param {"POST"|"DELETE"} method @param {object} [body] */
  async #act(method, body) {
    this.set({ busy: true, problem: "" });
    await this.attempt(async () => this.rounds.again(this.#heard(await this.ask(method, ADDRESS, body))));
    this.set({ busy: false });
  }

  async look() {
    try {
      return this.#heard(await this.ask("GET", ADDRESS));
    } catch (error) {
      // The panel says nothing of a look that failed: the next one may succeed.
      if (!(error instanceof ApiError)) throw error;
      return LOOK_AGAIN;
    }
  }

  /** @param {Fetching} fetching @returns {number|null} the pause until the next look */
  #heard(fetching) {
    const before = this.facts.fetching;
    this.set({ fetching });
    if (underWay(before) && fetching.state === "done") this.#onHere();
    return underWay(fetching) ? LOOK_AGAIN : null;
  }
}

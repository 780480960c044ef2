import { ApiError } from "../live/api.js";
import { underWay } from "./enginewords.js";

/**
 * The model that the server fetches, as in GET /api/engine/fetch.
 * @typedef {Object} Fetching
 * @property {"idle"|"fetching"|"checking"|"paused"|"failed"|"done"} state
 * @property {string} model id of the catalogue; "" for none
 * @property {number} done_bytes
 * @property {number} total_bytes 0: unknown
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

/** Fetches models for the operator. Uses no DOM. */
export class FetchDesk {
  /** @type {FetchFacts} */
  facts = { fetching: null, busy: false, problem: "" };
  #watched = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #ask;
  #onChange;
  #onHere;

  /**
   * @param {{ask: (method: "GET"|"POST"|"DELETE", path: string, body?: object) => Promise<any>,
   *   onChange: (facts: FetchFacts) => void, onHere: () => void}} hooks onHere: a model has come
   */
  constructor({ ask, onChange, onHere }) {
    this.#ask = ask;
    this.#onChange = onChange;
    this.#onHere = onHere;
  }

  /** @param {boolean} watched the panel is open and the token valid */
  watch(watched) {
    if (watched === this.#watched) return;
    this.#watched = watched;
    if (watched) void this.#look();
    else clearTimeout(this.#timer);
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
    this.#set({ busy: true, problem: "" });
    try {
      this.#heard(await this.#ask(method, "/api/engine/fetch", body));
      this.#set({ busy: false });
    } catch (error) {
      this.#set({ busy: false, problem: words(error) });
    }
  }

  async #look() {
    try {
      this.#heard(await this.#ask("GET", "/api/engine/fetch"));
    } catch (error) {
      words(error);
      this.#again();
    }
  }

  /** @param {Fetching} fetching */
  #heard(fetching) {
    const before = this.facts.fetching;
    this.#set({ fetching });
    if (underWay(before) && fetching.state === "done") this.#onHere();
    if (underWay(fetching)) this.#again();
  }

  #again() {
    clearTimeout(this.#timer);
    if (this.#watched) this.#timer = setTimeout(() => void this.#look(), LOOK_AGAIN);
  }

  /** @param {Partial<FetchFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

/** @param {unknown} error @returns {string} */
function words(error) {
  if (error instanceof ApiError) return error.message;
  throw error;
}

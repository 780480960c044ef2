import { Desk } from "../../core/operator/desk.js";

/**
 * The fields and limits of the loaded model, from the server.
 * @typedef {Object} Takes
 * @property {"video"|"sound"} kind
 * @property {string[]} fields of "negative", "guidance", "steps", "seconds"
 * @property {"never"|"may"|"must"} first_frame use of a picture as first frame
 * @property {number} factor sides are multiples of this
 * @property {number} frame_step frames are a multiple of this plus one
 * @property {number} min_side
 * @property {number} max_side
 * @property {number} max_frames
 * @property {number} max_fps
 * @property {number} max_seconds
 * @property {number} max_steps
 * @property {number} max_guidance
 * @property {number} max_text
 * @property {{width: number, height: number, seconds: number|null, fps: number, steps: number, guidance: number}}
 *   defaults
 *   values of absent fields; seconds null: the model decides
 */

/**
 * The newest job.
 * @typedef {Object} Making
 * @property {"idle"|"working"|"cancelling"|"ready"|"taken"|"cancelled"|"failed"|"expired"} state
 * @property {""|"video"|"sound"} kind
 * @property {""|"steps"|"decoding"|"encoding"} phase
 * @property {number} step
 * @property {number} steps 0: unknown
 * @property {number} made finished frames
 * @property {number} frames
 * @property {number} width
 * @property {number} height
 * @property {number} seconds duration of the result
 * @property {number} seed
 * @property {number} elapsed working time so far, seconds
 * @property {number} bytes of the result
 * @property {{message: string}|null} error
 */

/**
 * @typedef {Object} MakingFacts
 * @property {Takes|null} takes null while no such model is loaded
 * @property {Making|null} making
 * @property {boolean} busy a request is running
 * @property {string} problem the reason why it was not started, or not delivered
 * @property {{url: string, kind: "video"|"sound", name: string, of: Making}|null} result in this page's memory only
 */

/** Types of generating models. */
export const MAKES = ["video", "audio", "speech"];

// First interval (ms) between requests about a running job; it grows, because requests are limited per address.
const FIRST_LOOK = 400;
const LOOKS = 3000;
const ROUTE = "/api/engine/video";

/**
 * Starts and watches jobs for videos and sound, and fetches each result once. Uses no DOM.
 * @extends {Desk<MakingFacts>}
 */
export class MakingDesk extends Desk {
  #watching = false;
  #pause = FIRST_LOOK;
  /** True when the last status request failed. */
  #unseen = false;
  /** True while the result is fetched. */
  #taking = false;
  /** Number of changing requests, so that responses to older requests are ignored. */
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;

  /** @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: MakingFacts) => void}} hooks */
  constructor(hooks) {
    super({ takes: null, making: null, busy: false, problem: "", result: null }, hooks);
  }

  /** @param {boolean} watching a generating model is loaded, and the panel is open */
  watch(watching) {
    if (watching === this.#watching) return;
    this.#watching = watching;
    this.#turn++;
    clearTimeout(this.#timer);
    const state = this.facts.making?.state;
    if (!watching) this.set({ takes: null, problem: "" });
    // Also get the end of a job whose model was unloaded.
    if (watching || ["working", "cancelling", "ready"].includes(state ?? "")) void this.#look();
  }

  /** @param {object} wishes the fields of the server's route */
  async start(wishes) {
    const kind = this.facts.takes?.kind ?? "video";
    await this.#act("POST", `/api/engine/${kind}`, wishes);
  }

  async cancel() {
    await this.#act("DELETE", ROUTE);
  }

  /** Show why a request cannot be sent. @param {string} problem */
  refuse(problem) {
    this.set({ problem });
  }

  /** @param {"POST"|"DELETE"} method @param {string} path @param {object} [body] */
  async #act(method, path, body) {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#pause = FIRST_LOOK;
    this.set({ busy: true, problem: "" });
    let heard = true;
    try {
      const answer = await this.ask(method, path, body);
      if (turn === this.#turn) this.#show(answer);
    } catch (error) {
      this.failed(error);
      heard = /** @type {import("../../core/live/api.js").ApiError} */ (error).status > 0;
    } finally {
      this.set({ busy: false });
    }
    // The server may have done it all the same.
    if (turn === this.#turn) this.#again(!heard);
  }

  async #look() {
    const turn = this.#turn;
    try {
      const answer = await this.ask("GET", ROUTE);
      if (turn !== this.#turn) return;
      this.#show(answer);
      if (this.#unseen) this.set({ problem: "" });
      this.#unseen = false;
      if (answer.making.state === "ready" && !this.#taking) await this.#take(answer.making, turn);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#unseen = true;
      this.failed(error);
      // The token is no longer valid: further requests would count as guesses.
      if (/** @type {import("../../core/live/api.js").ApiError} */ (error).status === 401) return;
    }
    if (turn === this.#turn) this.#again(this.#unseen);
  }

  /** @param {boolean} anyway also without a known running job */
  #again(anyway) {
    clearTimeout(this.#timer);
    const state = this.facts.making?.state ?? "idle";
    const goes = ["working", "cancelling", "ready"].includes(state);
    // Also while the model is being unloaded: the job's end and result stay available for a moment.
    if (!goes && !(anyway && this.#watching)) return;
    this.#timer = setTimeout(() => void this.#look(), this.#pause);
    this.#pause = Math.min(LOOKS, this.#pause * 2);
  }

  /**
   * Fetch the result, which the server delivers once and does not store; the page keeps it until the next one.
   * @param {Making} making @param {number} turn
   */
  async #take(making, turn) {
    const kind = making.kind === "sound" ? "sound" : "video";
    this.#taking = true;
    /** @type {Blob} */
    let blob;
    try {
      blob = await this.ask("GET", `/api/engine/${kind}/result`, undefined, "blob");
    } finally {
      this.#taking = false;
    }
    // This is the only copy: show it, whatever else has started since.
    if (this.facts.result) URL.revokeObjectURL(this.facts.result.url);
    const name = `${kind}-${making.seed}.${kind === "video" ? "mp4" : "wav"}`;
    this.set({ result: { url: URL.createObjectURL(blob), kind, name, of: making } });
    if (turn === this.#turn) this.set({ making: { ...making, state: "taken" } });
  }

  /** @param {{making: Making, takes: Takes|null}} answer */
  #show({ making, takes }) {
    this.set({ making, takes: this.#watching ? takes : null });
  }
}

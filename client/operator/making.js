import { ApiError } from "../live/api.js";

/**
 * What the loaded model takes, as the server tells it.
 * @typedef {Object} Takes
 * @property {"video"|"sound"} kind
 * @property {string[]} fields of "negative", "guidance", "steps", "seconds"
 * @property {"never"|"may"|"must"} first_frame whether it begins with a picture
 * @property {number} factor sides are multiples of it
 * @property {number} frame_step frames are a multiple of it and one
 * @property {number} min_side
 * @property {number} max_side
 * @property {number} max_frames
 * @property {number} max_fps
 * @property {number} max_seconds
 * @property {number} max_steps
 * @property {number} max_guidance
 * @property {number} max_text
 * @property {{width: number, height: number, seconds: number|null, fps: number, steps: number, guidance: number}} defaults
 *   what is taken for what is left out; seconds null: as the model likes
 */

/**
 * The newest piece of work.
 * @typedef {Object} Making
 * @property {"idle"|"working"|"cancelling"|"ready"|"taken"|"cancelled"|"failed"|"expired"} state
 * @property {""|"video"|"sound"} kind
 * @property {""|"steps"|"decoding"|"encoding"} phase
 * @property {number} step
 * @property {number} steps 0: nobody knows, or nobody has told yet
 * @property {number} made frames that came
 * @property {number} frames
 * @property {number} width
 * @property {number} height
 * @property {number} seconds of what is made
 * @property {number} seed
 * @property {number} elapsed seconds of work so far
 * @property {number} bytes of the result
 * @property {{message: string}|null} error
 */

/**
 * @typedef {Object} MakingFacts
 * @property {Takes|null} takes null while no such model is loaded
 * @property {Making|null} making
 * @property {boolean} busy something is being asked of the server
 * @property {string} problem why it was not begun, or not had
 * @property {{url: string, kind: "video"|"sound", name: string, of: Making}|null} result in this page's memory only
 */

/** A request to the operator's routes. @typedef {(method: "GET"|"POST"|"DELETE", path: string, body?: object, as?: "json"|"blob") => Promise<any>} Ask */

/** Types of models that make something. */
export const MAKES = ["video", "audio", "speech"];

// Between two looks at work that goes on, longer each time: requests of an address are counted.
const FIRST_LOOK = 400;
const LOOKS = 3000;
const ROUTE = "/api/engine/video";

/** Videos and sound by the loaded model: asked for, watched, taken once. Knows no page. */
export class MakingDesk {
  /** @type {MakingFacts} */
  facts = { takes: null, making: null, busy: false, problem: "", result: null };

  #watching = false;
  #pause = FIRST_LOOK;
  /** The last look failed. */
  #unseen = false;
  /** The result is on its way. */
  #taking = false;
  /** Counts requests that change something: what was asked before them tells of what is no more. */
  #turn = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #ask;
  #onChange;

  /** @param {{ask: Ask, onChange: (facts: MakingFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} watching a model that makes something is loaded, and somebody is looking */
  watch(watching) {
    if (watching === this.#watching) return;
    this.#watching = watching;
    this.#turn++;
    clearTimeout(this.#timer);
    const state = this.facts.making?.state;
    if (!watching) this.#set({ takes: null, problem: "" });
    // What was at work in a model that is gone says how it ended.
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

  /** What the person asked for cannot be sent. @param {string} problem */
  refuse(problem) {
    this.#set({ problem });
  }

  /** @param {"POST"|"DELETE"} method @param {string} path @param {object} [body] */
  async #act(method, path, body) {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    this.#pause = FIRST_LOOK;
    this.#set({ busy: true, problem: "" });
    let heard = true;
    try {
      const told = await this.#ask(method, path, body);
      if (turn === this.#turn) this.#told(told);
    } catch (error) {
      this.#failed(error);
      heard = /** @type {ApiError} */ (error).status > 0;
    } finally {
      this.#set({ busy: false });
    }
    // It may have been done all the same.
    if (turn === this.#turn) this.#again(!heard);
  }

  async #look() {
    const turn = this.#turn;
    try {
      const told = await this.#ask("GET", ROUTE);
      if (turn !== this.#turn) return;
      this.#told(told);
      if (this.#unseen) this.#set({ problem: "" });
      this.#unseen = false;
      if (told.making.state === "ready" && !this.#taking) await this.#take(told.making, turn);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.#unseen = true;
      this.#failed(error);
      // The token is no longer right: asking on would be guessing.
      if (/** @type {ApiError} */ (error).status === 401) return;
    }
    if (turn === this.#turn) this.#again(this.#unseen);
  }

  /** @param {boolean} anyway also when nothing is known to go on */
  #again(anyway) {
    clearTimeout(this.#timer);
    const state = this.facts.making?.state ?? "idle";
    const goes = ["working", "cancelling", "ready"].includes(state);
    // Also in a model that is about to go: how the work ends, and what came of it, is there a moment longer.
    if (!goes && !(anyway && this.#watching)) return;
    this.#timer = setTimeout(() => void this.#look(), this.#pause);
    this.#pause = Math.min(LOOKS, this.#pause * 2);
  }

  /**
   * The server has it once, and keeps it nowhere: neither does this page, beyond its own life and the next one.
   * @param {Making} making @param {number} turn
   */
  async #take(making, turn) {
    const kind = making.kind === "sound" ? "sound" : "video";
    this.#taking = true;
    /** @type {Blob} */
    let blob;
    try {
      blob = await this.#ask("GET", `/api/engine/${kind}/result`, undefined, "blob");
    } finally {
      this.#taking = false;
    }
    // It is nowhere else any more: it is shown, whatever was begun meanwhile.
    if (this.facts.result) URL.revokeObjectURL(this.facts.result.url);
    const name = `${kind}-${making.seed}.${kind === "video" ? "mp4" : "wav"}`;
    this.#set({ result: { url: URL.createObjectURL(blob), kind, name, of: making } });
    if (turn === this.#turn) this.#set({ making: { ...making, state: "taken" } });
  }

  /** @param {{making: Making, takes: Takes|null}} told */
  #told({ making, takes }) {
    this.#set({ making, takes: this.#watching ? takes : null });
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof ApiError)) throw error;
    this.#set({ problem: error.message });
  }

  /** @param {Partial<MakingFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

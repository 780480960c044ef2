import { ApiError } from "../../../core/live/api.js";
import { failure } from "../../../core/operator/words.js";

/** @typedef {import("../../../core/live/messages.d.ts").EngineReport} EngineReport */
/** @typedef {"in_process"|"subprocess"|"container"|"remote"} Mode */

/**
 * A model of the catalogue.
 * @typedef {Object} Model
 * @property {string} id
 * @property {string} name
 * @property {string[]} aliases
 * @property {string} type vision, omni, speech, audio, video
 * @property {string[]} abilities
 * @property {number} weights_bytes 0: unknown
 * @property {number} memory_bytes 0: unknown
 * @property {number|null} context_length
 * @property {string} licence
 * @property {string} note when to choose it
 * @property {boolean} here its files are on the server's machine
 * @property {boolean} recommended it is the one that is proposed for the server's machine
 * @property {string} fetch the command that fetches it; "" where it is here
 * @property {{mode: Mode, ok: boolean, reason: string}[]} modes
 */

/**
 * A model and how to run it; absent fields have the server's default, null means the model's own.
 * @typedef {{model: string, mode: Mode, [field: string]: string|number|boolean|null}} Choice
 */

/**
 * @typedef {Object} Preview
 * @property {string} command the command that will run
 * @property {string} elsewhere the other machine to which pictures would go; "" for none
 * @property {string[]} warnings
 */

/**
 * The state that the panel shows.
 * @typedef {Object} EngineFacts
 * @property {boolean} busy a request is running
 * @property {boolean} stale the socket sends no reports, so the state may be outdated
 * @property {Model[]} models
 * @property {string} machine a description of the server's machine
 * @property {string[]} troubles problems with the catalogue and with models' folders
 * @property {EngineReport|null} report
 * @property {Preview|null} preview null while unknown
 * @property {string} problem the reason for no command, or for a failed request
 * @property {string[]} lines of the engine's log, oldest first
 * @property {number} dropped lines that were dropped because the buffer was full
 */

// Time (ms) from the last change of the choice to requesting its preview.
const SETTLES = 350;
const MAX_LINES = 400;
// Interval (ms) of requests for the list while the server examines its machine.
const LOOK_AGAIN = 2500;
// Time (ms) within which the socket must have reported the engine's state.
const TOLD_WITHIN = 4000;

/** The operator's requests and messages about models. Uses no DOM. */
export class EngineDesk {
  /** @type {EngineFacts} */
  facts = {
    busy: false,
    stale: false,
    models: [],
    machine: "",
    troubles: [],
    report: null,
    preview: null,
    problem: "",
    lines: [],
    dropped: 0,
  };

  #watching = false;
  /** Number of the choice, so that the response to an older one is ignored. */
  #choices = 0;
  /** Number of the socket's reports, so that an older response to a request is ignored. */
  #reports = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #unheard;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #again;
  #ask;
  #onChange;

  /** @param {{ask: import("../../../core/operator/desk.js").Ask, onChange: (facts: EngineFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    if (on === this.#watching) return;
    this.#watching = on;
    clearTimeout(this.#again);
    if (on) void this.refresh();
  }

  /**
   * Request the list of models, which changes with the free memory.
   * @param {boolean} [quietly] in the background, without the engine's state
   */
  async refresh(quietly = false) {
    if (!quietly) this.#set({ busy: true });
    const reports = this.#reports;
    try {
      const { engine, models, machine, troubles = [], pending = false } = await this.#ask("GET", "/api/engine");
      const more = quietly ? {} : { busy: false, ...this.#report(engine, reports) };
      this.#set({ models, machine, troubles, ...more });
      clearTimeout(this.#again);
      if (pending) this.#again = setTimeout(() => void this.refresh(true), LOOK_AGAIN);
    } catch (error) {
      const problem = words(error);
      if (!quietly) this.#set({ busy: false, problem });
    }
  }

  /** @param {EngineReport} report @param {number} reports value of the counter at the request */
  #report(report, reports) {
    return reports === this.#reports ? { report } : {};
  }

  /** @param {boolean} joined the socket is asked for reports, or has closed */
  joined(joined) {
    clearTimeout(this.#unheard);
    if (!joined) return this.#set({ stale: true });
    this.#set({ lines: [], dropped: 0 });
    this.#unheard = setTimeout(() => this.#set({ stale: true }), TOLD_WITHIN);
  }

  /** @param {import("../../../core/live/messages.d.ts").ServerMessage} message */
  receive(message) {
    if (message.type === "engine") this.#heard(message);
    else if (message.type === "log") {
      const lines = [...this.facts.lines, ...message.lines];
      const over = Math.max(0, lines.length - MAX_LINES);
      this.#set({ lines: lines.slice(over), dropped: this.facts.dropped + message.dropped + over });
    }
  }

  /** @param {EngineReport} report */
  #heard(report) {
    this.#reports++;
    clearTimeout(this.#unheard);
    const before = this.facts.report?.state;
    this.#set({ report, stale: false });
    // Loading or stopping has changed the free memory, and so the possible modes.
    const rests = !["loading", "stopping"].includes(report.state);
    if (rests && before && before !== report.state) void this.refresh(true);
  }

  /** Request the preview of a choice; the last one counts. @param {Choice|null} choice null: incomplete */
  choose(choice) {
    const number = ++this.#choices;
    clearTimeout(this.#timer);
    this.#set({ preview: null, problem: "" });
    if (!choice) return;
    // The key is sent only to start.
    const { api_key: _key, ...shown } = choice;
    this.#timer = setTimeout(() => void this.#preview(/** @type {Choice} */ (shown), number), SETTLES);
  }

  /** @param {Choice} choice */
  async start(choice) {
    // Remove the previous engine's log.
    this.#set({ lines: [], dropped: 0 });
    await this.#act("/api/engine/start", choice);
  }

  async stop() {
    await this.#act("/api/engine/stop", {});
  }

  /** @param {string} path @param {object} body */
  async #act(path, body) {
    this.#set({ busy: true, problem: "" });
    const reports = this.#reports;
    try {
      const { engine } = await this.#ask("POST", path, body);
      this.#set({ busy: false, ...this.#report(engine, reports) });
    } catch (error) {
      this.#set({ busy: false, problem: words(error) });
    }
  }

  /** @param {Choice} choice @param {number} number */
  async #preview(choice, number) {
    try {
      const preview = await this.#ask("POST", "/api/engine/preview", choice);
      if (number === this.#choices) this.#set({ preview });
    } catch (error) {
      if (number === this.#choices) this.#set({ problem: words(error) });
    }
  }

  /** @param {Partial<EngineFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

/** @param {unknown} error @returns {string} @throws what is no failed request */
function words(error) {
  if (!(error instanceof ApiError)) throw error;
  return failure(error);
}

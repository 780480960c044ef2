import { ApiError, request } from "../live/api.js";
import { failure } from "./words.js";

/** @typedef {import("../live/messages.d.ts").EngineReport} EngineReport */
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
 * @property {boolean} known the token is valid
 * @property {boolean} hosts the server runs models for operators
 * @property {boolean} busy a request is running
 * @property {boolean} stale the socket sends no reports, so the state may be outdated
 * @property {string} refused the reason why the token is refused, or nothing can be loaded
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
// Time limit (ms) of a request: stopping waits until the memory is free.
const PATIENCE = 90_000;
const MAX_LINES = 400;
// Interval (ms) of requests for the list while the server examines its machine.
const LOOK_AGAIN = 2500;
// Time (ms) within which the socket must have reported the engine's state.
const TOLD_WITHIN = 4000;
// Characters that no token can have, because a header cannot.
const NO_TOKEN = /[^\x21-\x7e]/;

/** The operator's requests and messages. The token is kept in this page's memory only. Uses no DOM. */
export class EngineDesk {
  /** @type {EngineFacts} */
  facts = {
    known: false,
    hosts: true,
    busy: false,
    stale: false,
    refused: "",
    models: [],
    machine: "",
    troubles: [],
    report: null,
    preview: null,
    problem: "",
    lines: [],
    dropped: 0,
  };

  #token = "";
  #connected = false;
  /** Number of the choice, so that the response to an older one is ignored. */
  #choices = 0;
  /** Number of the socket's reports, so that an older response to a request is ignored. */
  #reports = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #joining;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #again;
  #send;
  #session;
  #onChange;

  /**
   * @param {{send: (message: import("../live/messages.d.ts").Operator) => boolean, session?: () => string,
   *   onChange: (facts: EngineFacts) => void}} hooks
   *   session: the page's session id, so that the process with its socket answers
   */
  constructor({ send, session = () => "", onChange }) {
    this.#send = send;
    this.#session = session;
    this.#onChange = onChange;
  }

  /** All secrets here, which no report may contain. @returns {string[]} */
  get secrets() {
    return this.#token ? [this.#token] : [];
  }

  /** @param {string} token */
  async enter(token) {
    const given = token.trim();
    if (!given || NO_TOKEN.test(given)) {
      const why = given ? "It has a space, or a character that no token has: copy it once more." : "Give the token.";
      return this.#set({ refused: why });
    }
    this.#token = given;
    await this.refresh();
    if (this.facts.known) this.#join();
  }

  /**
   * Request the list of models, which changes with the free memory.
   * @param {boolean} [quietly] in the background, without the engine's state
   */
  async refresh(quietly = false) {
    if (!this.#token) return;
    if (!quietly) this.#set({ busy: true });
    const reports = this.#reports;
    try {
      const found = await this.#models();
      if (!found) return this.#set({ known: true, hosts: false, refused: "", busy: false });
      const { engine, models, machine, troubles = [], pending = false } = found;
      const more = quietly ? {} : { busy: false, ...this.#report(engine, reports) };
      this.#set({ known: true, refused: "", models, machine, troubles, ...more });
      clearTimeout(this.#again);
      if (pending) this.#again = setTimeout(() => void this.refresh(true), LOOK_AGAIN);
    } catch (error) {
      const refused = this.#words(error);
      if (!quietly) this.#set({ busy: false, refused, problem: this.facts.known ? refused : "" });
    }
  }

  /** @returns {Promise<any>} null from a server without models for operators: then another route checks the token */
  async #models() {
    try {
      return await this.ask("GET", "/api/engine");
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
      await this.ask("GET", "/api/operator/sessions");
      return null;
    }
  }

  /** @param {EngineReport} report @param {number} reports value of the counter at the request */
  #report(report, reports) {
    return reports === this.#reports ? { report } : {};
  }

  /** @param {boolean} connected the socket is open; each new one needs the operator message */
  connected(connected) {
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (!this.facts.known) return;
    if (connected) this.#join();
    else this.#set({ stale: true });
  }

  /**
   * @param {import("../live/messages.d.ts").ServerMessage} message
   * @returns {boolean} true when it was for the operator
   */
  receive(message) {
    if (message.type === "engine") this.#heard(message);
    else if (message.type === "log") {
      const lines = [...this.facts.lines, ...message.lines];
      const over = Math.max(0, lines.length - MAX_LINES);
      this.#set({ lines: lines.slice(over), dropped: this.facts.dropped + message.dropped + over });
    } else if (message.type === "error" && message.id === "operator") {
      this.#set({ problem: message.message });
      // Too many requests came from this address.
      if (message.retry_after) this.#join(message.retry_after * 1000);
    } else return false;
    return true;
  }

  /** @param {EngineReport} report */
  #heard(report) {
    this.#reports++;
    clearTimeout(this.#joining);
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
      const { engine } = await this.ask("POST", path, body);
      this.#set({ busy: false, ...this.#report(engine, reports) });
    } catch (error) {
      this.#set({ busy: false, problem: this.#words(error) });
    }
  }

  /** @param {Choice} choice @param {number} number */
  async #preview(choice, number) {
    try {
      const preview = await this.ask("POST", "/api/engine/preview", choice);
      if (number === this.#choices) this.#set({ preview });
    } catch (error) {
      if (number === this.#choices) this.#set({ problem: this.#words(error) });
    }
  }

  /**
   * Send a request to the operator's routes.
   * @param {"GET"|"POST"|"DELETE"} method @param {string} path @param {object} [body] @param {"json"|"blob"} [as]
   */
  ask(method, path, body, as) {
    const id = this.#session();
    const address = id ? `${path}?session=${encodeURIComponent(id)}` : path;
    return request(method, address, { token: this.#token, body, timeout: as === "blob" ? 300_000 : PATIENCE, as });
  }

  /** @param {number} [wait] milliseconds */
  #join(wait = 0) {
    clearTimeout(this.#joining);
    if (wait) {
      this.#joining = setTimeout(() => this.#join(), wait);
      return;
    }
    this.#set({ lines: [], dropped: 0 });
    this.#send({ type: "operator", token: this.#token });
    this.#joining = setTimeout(() => this.#set({ stale: true }), TOLD_WITHIN);
  }

  /** @param {unknown} error @returns {string} */
  #words(error) {
    if (!(error instanceof ApiError)) throw error;
    // The token has changed on the server, or was wrong: ask for it again.
    if (error.status === 401 || error.status === 404) {
      this.#token = "";
      this.#set({ known: false, refused: failure(error) });
    }
    return failure(error);
  }

  /** @param {Partial<EngineFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

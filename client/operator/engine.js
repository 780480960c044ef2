import { ApiError, request } from "../live/api.js";

/** @typedef {import("../live/messages.js").EngineReport} EngineReport */
/** @typedef {"in_process"|"subprocess"|"container"|"remote"} Mode */

/**
 * A model of the catalogue.
 * @typedef {Object} Model
 * @property {string} id
 * @property {string} name
 * @property {string[]} aliases
 * @property {string} type vision, omni, speech, audio, video
 * @property {string[]} abilities
 * @property {number} weights_bytes 0: not known
 * @property {number} memory_bytes 0: not known
 * @property {number|null} context_length
 * @property {string} licence
 * @property {string} note when to take it
 * @property {boolean} here its files are on the server's machine
 * @property {{mode: Mode, ok: boolean, reason: string}[]} modes
 */

/**
 * What would run; fields that are absent keep the server's default, and null is the model's own.
 * @typedef {{model: string, mode: Mode, [field: string]: string|number|boolean|null}} Choice
 */

/**
 * @typedef {Object} Preview
 * @property {string} command exactly what will run
 * @property {string} elsewhere the other machine that pictures would go to; "" for none
 * @property {string[]} warnings
 */

/**
 * What the panel shows.
 * @typedef {Object} EngineFacts
 * @property {boolean} known the token is right
 * @property {boolean} busy something is being asked of the server
 * @property {boolean} stale the socket tells nothing: it may stand otherwise by now
 * @property {string} refused why the token is not taken, or why nothing can be had
 * @property {Model[]} models
 * @property {string} machine what the server's machine has, in words
 * @property {string[]} troubles what could not be read there: another catalogue, folders that look like models
 * @property {EngineReport|null} report
 * @property {Preview|null} preview null while it is not known
 * @property {string} problem why there is no command, or why it was not done
 * @property {string[]} lines the engine's own, oldest first
 * @property {number} dropped lines that went for want of room
 */

// Between the last change of the choice and asking what it comes to.
const SETTLES = 350;
// Stopping waits until the memory is back.
const PATIENCE = 90_000;
const MAX_LINES = 400;
// While the server finds out what else there is.
const LOOK_AGAIN = 2500;
// Until the socket must have told how the engine stands.
const TOLD_WITHIN = 4000;
// What a token cannot have: it would be in no header.
const NO_TOKEN = /[^\x21-\x7e]/;

/** The operator's part of the connection. The token lives in this page's memory only. Knows no page. */
export class EngineDesk {
  /** @type {EngineFacts} */
  facts = {
    known: false,
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
  /** Counts choices: the answer to an older one is nobody's any more. */
  #choices = 0;
  /** Counts what the socket tells: it is newer than the answer to a request that was sent before. */
  #told = 0;
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
   * @param {{send: (message: import("../live/messages.js").Operator) => boolean, session?: () => string,
   *   onChange: (facts: EngineFacts) => void}} hooks
   *   session: the id of the page's own, so that of several processes the one is asked that the socket is at
   */
  constructor({ send, session = () => "", onChange }) {
    this.#send = send;
    this.#session = session;
    this.#onChange = onChange;
  }

  /** Everything here that no report may hold. @returns {string[]} */
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
   * What there is to choose from, as things stand: free memory changes.
   * @param {boolean} [quietly] nobody waits for it, and how the engine stands is known
   */
  async refresh(quietly = false) {
    if (!this.#token) return;
    if (!quietly) this.#set({ busy: true });
    const told = this.#told;
    try {
      const { engine, models, machine, troubles = [], pending = false } = await this.ask("GET", "/api/engine");
      const more = quietly ? {} : { busy: false, ...this.#report(engine, told) };
      this.#set({ known: true, refused: "", models, machine, troubles, ...more });
      clearTimeout(this.#again);
      if (pending) this.#again = setTimeout(() => void this.refresh(true), LOOK_AGAIN);
    } catch (error) {
      const refused = this.#words(error);
      if (!quietly) this.#set({ busy: false, refused, problem: this.facts.known ? refused : "" });
    }
  }

  /** @param {EngineReport} report @param {number} told as counted when it was asked for */
  #report(report, told) {
    return told === this.#told ? { report } : {};
  }

  /** @param {boolean} connected the socket is open: each one has to be told anew */
  connected(connected) {
    if (connected === this.#connected) return;
    this.#connected = connected;
    if (!this.facts.known) return;
    if (connected) this.#join();
    else this.#set({ stale: true });
  }

  /** @param {import("../live/messages.js").ServerMessage} message @returns {boolean} whether it was for the operator */
  receive(message) {
    if (message.type === "engine") this.#heard(message);
    else if (message.type === "log") {
      const lines = [...this.facts.lines, ...message.lines];
      const over = Math.max(0, lines.length - MAX_LINES);
      this.#set({ lines: lines.slice(over), dropped: this.facts.dropped + message.dropped + over });
    } else if (message.type === "error" && message.id === "operator") {
      this.#set({ problem: message.message });
      // Others of this address asked too much.
      if (message.retry_after) this.#join(message.retry_after * 1000);
    } else return false;
    return true;
  }

  /** @param {EngineReport} report */
  #heard(report) {
    this.#told++;
    clearTimeout(this.#joining);
    const before = this.facts.report?.state;
    this.#set({ report, stale: false });
    // What was loaded or stopped has changed what else there is room for.
    const rests = !["loading", "stopping"].includes(report.state);
    if (rests && before && before !== report.state) void this.refresh(true);
  }

  /** What it would come to; the last choice counts. @param {Choice|null} choice null: nothing can be chosen */
  choose(choice) {
    const number = ++this.#choices;
    clearTimeout(this.#timer);
    this.#set({ preview: null, problem: "" });
    if (!choice) return;
    // The key is for starting alone.
    const { api_key: _key, ...shown } = choice;
    this.#timer = setTimeout(() => void this.#preview(/** @type {Choice} */ (shown), number), SETTLES);
  }

  /** @param {Choice} choice */
  async start(choice) {
    // What the last engine said explains nothing of this one.
    this.#set({ lines: [], dropped: 0 });
    await this.#act("/api/engine/start", choice);
  }

  async stop() {
    await this.#act("/api/engine/stop", {});
  }

  /** @param {string} path @param {object} body */
  async #act(path, body) {
    this.#set({ busy: true, problem: "" });
    const told = this.#told;
    try {
      const { engine } = await this.ask("POST", path, body);
      this.#set({ busy: false, ...this.#report(engine, told) });
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
   * A request to the operator's routes.
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
    // Changed on the server, or wrong from the start: it is asked for again.
    if (error.status === 401 || error.status === 404) {
      this.#token = "";
      this.#set({ known: false, refused: error.message });
    }
    return error.message;
  }

  /** @param {Partial<EngineFacts>} change */
  #set(change) {
    this.facts = { ...this.facts, ...change };
    this.#onChange(this.facts);
  }
}

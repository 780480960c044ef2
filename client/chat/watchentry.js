import { Part } from "../page/part.js";

/** @typedef {import("../live/messages.js").ServerMessage} ServerMessage */

/**
 * The part with the watches, as far as this module knows it.
 * @typedef {Object} Watches
 * @property {() => void} open
 * @property {(condition: string) => void} add
 * @property {(message: ServerMessage) => boolean} receive
 * @property {(open: boolean) => void} connected
 * @property {() => void} forget
 */

// Messages that wait while the part loads; the oldest is dropped.
const MOST_WAITING = 40;
// Messages that the watches show
const OURS = new Set(["watches", "alert", "webhooks", "home_assistant"]);

/** The way to the watches. Their part loads with the first one, and gets what came before. */
export class WatchEntry {
  /** Something is watched for. */
  on = false;

  #composer;
  /** @type {Part<Watches>} */
  #part;
  /** @type {ServerMessage[]} */
  #waiting = [];

  /**
   * @param {{address: URL, load: () => Promise<Watches>, onMissing: (again: () => void) => void}} part see `Part`
   * @param {import("./composer.js").Composer} composer
   */
  constructor(part, composer) {
    this.#part = new Part(part);
    this.#composer = composer;
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about watches */
  receive(message) {
    if (message.type === "watches") {
      this.on = message.watches.some((one) => !one.ended);
      this.#composer.offerWatches(true);
    }
    if (this.#part.here) return this.#part.here.receive(message);
    if (!OURS.has(message.type)) return false;
    this.#waiting.push(message);
    if (this.#waiting.length > MOST_WAITING) this.#waiting.shift();
    let idle = false;
    if (message.type === "watches") idle = message.watches.length === 0 && !history.state?.watches?.length;
    else if (message.type === "webhooks") idle = !message.webhooks.some((one) => one.on);
    else if (message.type === "home_assistant") idle = !message.on;
    if (!idle) void this.#part.ahead().then(() => this.#deliver());
    return true;
  }

  /** Begin a watch. @param {string} condition */
  async add(condition) {
    await this.#part.open(this.#composer.watch);
    if (!this.#part.here) return this.#composer.restore(condition);
    this.#deliver();
    this.#part.here.add(condition);
  }

  /** @param {boolean} open the socket is open */
  connected(open) {
    this.#part.here?.connected(open);
  }

  /** Another session began. */
  forget() {
    this.#waiting.length = 0;
    this.on = false;
    this.#part.here?.forget();
  }

  #deliver() {
    if (this.#part.here) for (const message of this.#waiting.splice(0)) this.#part.here.receive(message);
  }
}

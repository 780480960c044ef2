import { WatchingDesk } from "./desk.js";

/** @typedef {{state: "loading"|"ready"|"unreachable", detail: string}} SpeechPart */

/**
 * Who makes words of what is said, and sound of answers; chosen: a local recogniser, in place of the settings'.
 * @typedef {{recogniser: SpeechPart|null, voice: SpeechPart|null, chosen: (SpeechPart & {folder: string})|null, busy: boolean, problem: string}} SpeechFacts
 */

// Between two looks (ms), and while a model loads
const LOOK_EVERY = 5000;
const LOOK_SOON = 1000;
const ADDRESS = "/api/operator/speech";

/** Reads the state of speech for the operator, and loads a recogniser. Uses no DOM. @extends {WatchingDesk<SpeechFacts>} */
export class SpeechDesk extends WatchingDesk {
  #folder = "";
  // Why the last choice was refused; looks leave it there.
  #refused = "";

  /** @param {{ask: import("./desk.js").Ask, onChange: (facts: SpeechFacts) => void}} hooks */
  constructor(hooks) {
    super({ recogniser: null, voice: null, chosen: null, busy: false, problem: "" }, hooks);
  }

  /** @param {string} folder of a model on the server; "": the settings' recogniser again */
  async choose(folder) {
    if (this.facts.busy) return;
    this.#folder = folder;
    this.#refused = "";
    this.set({ busy: true, problem: "" });
    await this.rounds.look(folder ? "POST" : "DELETE");
    this.set({ busy: false });
  }

  /** @param {"GET"|"POST"|"DELETE"} method */
  async look(method = "GET") {
    const [path, body] = method === "GET" ? [ADDRESS, undefined] : [`${ADDRESS}/recogniser`, method === "POST" ? { folder: this.#folder } : undefined];
    const fine = await this.attempt(async () => this.set({ ...(await this.ask(method, path, body)), problem: this.#refused }));
    if (method !== "GET" && !fine) this.#refused = this.facts.problem;
    return this.facts.chosen?.state === "loading" ? LOOK_SOON : LOOK_EVERY;
  }
}

import { ApiError } from "../live/api.js";
import { WatchingDesk } from "./desk.js";
import { failure } from "./words.js";

/**
 * A camera of the house.
 * @typedef {{name: string, where: string, state: "connecting"|"live"|"waiting", detail: string, sends: string, since_seconds: number, retry_seconds: number|null, codec: string, fps: number, width: number|null, height: number|null, unwatched: {condition: string, reason: string}[]}} HouseCamera
 */

/** The last question to a camera, and its answer. @typedef {{question: string, answer: string, waiting: boolean}} Asked */

/** @typedef {{cameras: HouseCamera[], pictures: Map<string, string>, asked: Map<string, Asked>, problem: string}} CamerasFacts */

const LOOK_EVERY = 3000;
const ADDRESS = "/api/operator/cameras";

/**
 * Reads the cameras of the house for the operator, shows and asks them. Uses no DOM.
 * @extends {WatchingDesk<CamerasFacts>}
 */
export class CamerasDesk extends WatchingDesk {
  /** @param {{ask: import("./desk.js").Ask, onChange: (facts: CamerasFacts) => void}} hooks */
  constructor(hooks) {
    // Pictures are object URLs by the camera's name; a camera that is not shown has none, or "" at first.
    super({ cameras: [], pictures: new Map(), asked: new Map(), problem: "" }, hooks);
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    super.watch(on);
    if (!on) for (const name of [...this.facts.pictures.keys()]) this.#picture(name, null);
  }

  /** @param {string} name @param {boolean} shown */
  show(name, shown) {
    this.#picture(name, shown ? "" : null);
    if (shown) void this.#see(name).then(() => this.set());
    else this.set();
  }

  /** @param {string} name */
  async retry(name) {
    await this.attempt(async () => {
      const { cameras } = await this.ask("POST", `${ADDRESS}/${name}/retry`);
      this.set({ cameras });
    });
  }

  /** @param {string} name @param {string} question */
  async question(name, question) {
    const asked = { question, answer: "", waiting: true };
    this.facts.asked.set(name, asked);
    this.set();
    try {
      const reply = await this.ask("POST", `${ADDRESS}/${name}/ask`, { content: question });
      asked.answer = reply.text ?? reply.message ?? "";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      asked.answer = failure(error);
    }
    asked.waiting = false;
    this.set();
  }

  async look() {
    await this.attempt(async () => {
      const { cameras } = await this.ask("GET", ADDRESS);
      this.set({ cameras, problem: "" });
    });
    for (const name of [...this.facts.pictures.keys()]) await this.#see(name);
    this.set();
    return LOOK_EVERY;
  }

  /** Fetch a picture; without one the last stays away, so that no old one is shown. @param {string} name */
  async #see(name) {
    let url = "";
    try {
      url = URL.createObjectURL(await this.ask("GET", `${ADDRESS}/${name}/picture`, undefined, "blob"));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
    if (this.rounds.watching && this.facts.pictures.has(name)) this.#picture(name, url);
    else if (url) URL.revokeObjectURL(url);
  }

  /** @param {string} name @param {string|null} url null: it is not shown */
  #picture(name, url) {
    const old = this.facts.pictures.get(name);
    if (old) URL.revokeObjectURL(old);
    if (url === null) this.facts.pictures.delete(name);
    else this.facts.pictures.set(name, url);
  }
}

import { ApiError } from "../live/api.js";
import { Rounds } from "./rounds.js";

/**
 * The connection to the MQTT broker.
 * @typedef {{broker: string, state: "off"|"waiting"|"connected", detail?: string, retry_seconds?: number|null, waiting?: number, sent?: number, cameras: string[], visitors: number, problem: string}} MqttFacts
 */

const LOOK_EVERY = 3000;

/** Reads the state of MQTT for the operator. Uses no DOM. */
export class MqttDesk {
  /** @type {MqttFacts} */
  facts = { broker: "", state: "off", cameras: [], visitors: 0, problem: "" };

  #ask;
  #onChange;
  #rounds = new Rounds(() => this.#look());

  /** @param {{ask: import("./making.js").Ask, onChange: (facts: MqttFacts) => void}} hooks */
  constructor({ ask, onChange }) {
    this.#ask = ask;
    this.#onChange = onChange;
  }

  /** @param {boolean} on the panel is open, and the token is valid */
  watch(on) {
    this.#rounds.watch(on);
  }

  async #look() {
    try {
      this.facts = { ...(await this.#ask("GET", "/api/operator/mqtt")), problem: "" };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.facts.problem = error.message;
    }
    this.#onChange(this.facts);
    return LOOK_EVERY;
  }
}

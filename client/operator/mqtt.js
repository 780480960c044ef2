import { WatchingDesk } from "./desk.js";

/**
 * The connection to the MQTT broker.
 * @typedef {{broker: string, state: "off"|"waiting"|"connected", detail?: string, retry_seconds?: number|null, waiting?: number, sent?: number, cameras: string[], visitors: number, problem: string}} MqttFacts
 */

const LOOK_EVERY = 3000;

/** Reads the state of MQTT for the operator. Uses no DOM. @extends {WatchingDesk<MqttFacts>} */
export class MqttDesk extends WatchingDesk {
  /** @param {{ask: import("./desk.js").Ask, onChange: (facts: MqttFacts) => void}} hooks */
  constructor(hooks) {
    super({ broker: "", state: "off", cameras: [], visitors: 0, problem: "" }, hooks);
  }

  /** @override */
  async look() {
    await this.attempt(async () => this.set({ ...(await this.ask("GET", "/api/operator/mqtt")), problem: "" }));
    return LOOK_EVERY;
  }
}

import { WatchingDesk } from "../../core/operator/desk.js";
import { lasted } from "../../core/operator/words.js";
import { byId, say, show, tell } from "../../core/page/dom.js";

/**
 * The connection to the MQTT broker.
 * @typedef {{broker: string, state: "off"|"waiting"|"connected", detail?: string, retry_seconds?: number|null,
 *   waiting?: number, sent?: number, cameras: string[], visitors: number, problem: string}} MqttFacts
 */

const LOOK_EVERY = 3000;

/** Reads the state of MQTT for the operator. Uses no DOM. @extends {WatchingDesk<MqttFacts>} */
export class MqttDesk extends WatchingDesk {
  /** @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: MqttFacts) => void}} hooks */
  constructor(hooks) {
    super({ broker: "", state: "off", cameras: [], visitors: 0, problem: "" }, hooks);
  }

  /** @override */
  async look() {
    await this.attempt(async () => this.set({ ...(await this.ask("GET", "/api/operator/mqtt")), problem: "" }));
    return LOOK_EVERY;
  }
}

/** MQTT in the operator's panel: the broker, its trouble in words, and the cameras that it has. Uses no connection. */
export class MqttView {
  #section = byId("mqtt", HTMLElement);
  #broker = byId("mqtt-broker", HTMLElement);
  #state = byId("mqtt-state", HTMLElement);
  #detail = byId("mqtt-detail", HTMLElement);
  #told = byId("mqtt-told", HTMLElement);
  #problem = byId("mqtt-problem", HTMLElement);

  /** @param {MqttFacts} facts */
  render({ broker, state, detail = "", retry_seconds: retry, sent = 0, waiting = 0, cameras, visitors, problem }) {
    tell(this.#problem, problem);
    show(this.#section, state !== "off" || problem !== "");
    say(this.#broker, broker);
    const parts = [state === "connected" ? "connected" : "not connected"];
    if (typeof retry === "number") parts.push(`tries again in ${lasted(retry)}`);
    say(this.#state, [...parts, `sent: ${sent}, waiting: ${waiting}`].join(" · "));
    tell(this.#detail, detail);
    const names = cameras.length > 0 ? [`Fixed cameras: ${cameras.join(", ")}`] : [];
    say(this.#told, [...names, `visitors' cameras: ${visitors}`].join(" · "));
  }
}

/**
 * In the operator's panel: the connection to the MQTT broker.
 * @param {import("../../core/operator/panel.js").PanelApi} panel
 */
export function register(panel) {
  const view = new MqttView();
  panel.add(new MqttDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) }));
}

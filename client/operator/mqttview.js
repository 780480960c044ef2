import { byId, say, show } from "../page/dom.js";
import { lasted } from "./words.js";

/** MQTT in the operator's panel: the broker, its trouble in words, and the cameras that it has. Uses no connection. */
export class MqttView {
  #section = byId("mqtt", HTMLElement);
  #broker = byId("mqtt-broker", HTMLElement);
  #state = byId("mqtt-state", HTMLElement);
  #detail = byId("mqtt-detail", HTMLElement);
  #told = byId("mqtt-told", HTMLElement);
  #problem = byId("mqtt-problem", HTMLElement);

  /** @param {import("./mqtt.js").MqttFacts} facts */
  render({ broker, state, detail = "", retry_seconds: retry, sent = 0, waiting = 0, cameras, visitors, problem }) {
    say(this.#problem, problem);
    show(this.#problem, problem !== "");
    show(this.#section, state !== "off" || problem !== "");
    say(this.#broker, broker);
    const parts = [state === "connected" ? "connected" : "not connected"];
    if (typeof retry === "number") parts.push(`tries again in ${lasted(retry)}`);
    say(this.#state, [...parts, `sent: ${sent}, waiting: ${waiting}`].join(" · "));
    say(this.#detail, detail);
    show(this.#detail, detail !== "");
    const names = cameras.length > 0 ? [`Cameras of the house: ${cameras.join(", ")}`] : [];
    say(this.#told, [...names, `visitors' cameras: ${visitors}`].join(" · "));
  }
}

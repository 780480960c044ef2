import { byId, say, show } from "../page/dom.js";
import { span } from "../page/routes.js";
import { list, text } from "../words/text.js";
import { said, tongue } from "./serverwords.js";

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
    const parts = [state === "connected" ? text("connected") : text("not connected")];
    if (typeof retry === "number") parts.push(text("tries again in {time}", { time: span(retry * 1000) }));
    say(this.#state, [...parts, text("sent: {sent}, waiting: {waiting}", { sent, waiting })].join(" · "));
    say(this.#detail, said(detail));
    this.#detail.lang = tongue(detail);
    show(this.#detail, detail !== "");
    const names = cameras.length > 0 ? [`${text("Cameras of the house")}: ${list(cameras)}`] : [];
    say(this.#told, [...names, text("visitors' cameras: {count}", { count: visitors })].join(" · "));
  }
}

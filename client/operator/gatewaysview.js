import { byId, say, show } from "../page/dom.js";

/** @typedef {import("./gateways.js").GatewaysFacts} GatewaysFacts */
/** @typedef {import("./gateways.js").DrainReport} DrainReport */

/** The list of gateways in the operator's panel, with the drain of this one. Uses no connection. */
export class GatewaysView {
  #section = byId("gateways", HTMLElement);
  #drain = byId("gateways-drain", HTMLButtonElement);
  #undo = byId("gateways-undo", HTMLButtonElement);
  #state = byId("gateways-state", HTMLElement);
  #list = byId("gateways-list", HTMLElement);
  #problem = byId("gateways-problem", HTMLElement);

  /** @param {{onDrain: (on: boolean) => void}} hooks */
  constructor({ onDrain }) {
    this.#drain.addEventListener("click", () => onDrain(true));
    this.#undo.addEventListener("click", () => onDrain(false));
  }

  /** @param {GatewaysFacts} facts */
  render({ report, problem }) {
    // A server that is alone has nowhere to send people.
    show(this.#section, report !== null && report.name !== "");
    say(this.#problem, problem);
    show(this.#problem, problem !== "");
    if (!report) return;
    const focused = document.activeElement === this.#drain || document.activeElement === this.#undo;
    show(this.#drain, !report.draining);
    show(this.#undo, report.draining && !report.stopping);
    const shown = report.draining ? this.#undo : this.#drain;
    if (focused && !shown.hidden) shown.focus({ preventScroll: true });
    say(this.#state, standing(report));
    this.#list.replaceChildren(
      ...report.gateways.map((one) => {
        const item = document.createElement("li");
        const strong = document.createElement("strong");
        strong.textContent = one.name === report.name ? `${one.name} (this one)` : one.name;
        const small = document.createElement("small");
        const places = `${one.sessions} of ${one.most} places taken`;
        small.textContent = one.draining ? `${places} · draining` : places;
        item.append(strong, small);
        return item;
      }),
    );
  }
}

/** The state of this gateway's drain, in words. @param {DrainReport} report */
function standing({ draining, people, moved, notice_seconds, room }) {
  if (!draining) return "Drain a gateway before you stop it: people go on at the others, with their chat.";
  if (people === 0) return "Nobody is left here. It can be stopped now.";
  if (notice_seconds > 0) return `People go on at the others in ${Math.ceil(notice_seconds)}\u00a0s. Nothing has happened yet.`;
  const left = `Still here: ${people}. Gone on: ${moved}.`;
  return room > 0 ? left : `${left} No other gateway has room: people stay until they leave.`;
}

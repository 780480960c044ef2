import { WatchingDesk } from "../../core/operator/desk.js";
import { byId, made, say, show, tell } from "../../core/page/dom.js";

/** @typedef {{name: string, sessions: number, most: number, draining: boolean}} Gateway */

/**
 * The gateway that this page talks to, and all of them.
 * @typedef {Object} DrainReport
 * @property {string} name "" for a server that is alone
 * @property {boolean} draining
 * @property {boolean} stopping by a signal: nothing brings it back
 * @property {number} people who are here
 * @property {number} moved
 * @property {number} notice_seconds until people go
 * @property {number} room places at other gateways
 * @property {Gateway[]} gateways
 */

/** @typedef {{report: DrainReport|null, busy: boolean, problem: string}} GatewaysFacts */

// Between two looks (ms), and while people go
const LOOK_EVERY = 5000;
const LOOK_SOON = 1000;
const ADDRESS = "/api/operator/drain";

/**
 * Reads the gateways for the operator, and drains the one that this page talks to. Uses no DOM.
 * @extends {WatchingDesk<GatewaysFacts>}
 */
export class GatewaysDesk extends WatchingDesk {
  /** @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: GatewaysFacts) => void}} hooks */
  constructor(hooks) {
    super({ report: null, busy: false, problem: "" }, hooks);
  }

  /** @param {boolean} on false: take people again */
  async drain(on) {
    if (this.facts.busy) return;
    this.set({ busy: true });
    await this.rounds.look(on ? "POST" : "DELETE");
    this.set({ busy: false });
  }

  /** @param {"GET"|"POST"|"DELETE"} method */
  async look(method = "GET") {
    await this.attempt(async () => this.set({ report: await this.ask(method, ADDRESS), problem: "" }));
    return this.facts.report?.gateways.some((one) => one.draining) ? LOOK_SOON : LOOK_EVERY;
  }
}

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
    tell(this.#problem, problem);
    if (!report) return;
    const focused = document.activeElement === this.#drain || document.activeElement === this.#undo;
    show(this.#drain, !report.draining);
    show(this.#undo, report.draining && !report.stopping);
    const shown = report.draining ? this.#undo : this.#drain;
    if (focused && !shown.hidden) shown.focus({ preventScroll: true });
    say(this.#state, standing(report));
    this.#list.replaceChildren(
      ...report.gateways.map((one) => {
        const name = one.name === report.name ? `${one.name} (this one)` : one.name;
        const places = `${one.sessions} of ${one.most} places taken`;
        return made(
          "li",
          {},
          made("strong", {}, name),
          made("small", {}, one.draining ? `${places} · draining` : places),
        );
      }),
    );
  }
}

/** The state of this gateway's drain, in words. @param {DrainReport} report */
function standing({ draining, people, moved, notice_seconds, room }) {
  if (!draining) return "Drain a gateway before you stop it: people go on at the others, with their chat.";
  if (people === 0) return "Nobody is left here. It can be stopped now.";
  if (notice_seconds > 0)
    return `People go on at the others in ${Math.ceil(notice_seconds)}\u00a0s. Nothing has happened yet.`;
  const left = `Still here: ${people}. Gone on: ${moved}.`;
  return room > 0 ? left : `${left} No other gateway has room: people stay until they leave.`;
}

/** In the operator's panel: the gateways. @param {import("../../core/operator/panel.js").PanelApi} panel */
export function register(panel) {
  const desk = new GatewaysDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) });
  const view = new GatewaysView({ onDrain: (on) => void desk.drain(on) });
  panel.add(desk);
}

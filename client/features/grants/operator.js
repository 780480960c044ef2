import { WatchingDesk } from "../../core/operator/desk.js";
import { counted, lasted } from "../../core/operator/words.js";
import { button, byId, made, say, show, tell } from "../../core/page/dom.js";
import { clock } from "../../core/words/text.js";

/**
 * A program that may look: through a visitor's session, or a fixed camera.
 * @typedef {{session: string, camera: string, id: string, name: string, scopes: string[], expires_at: number,
 *   last_used: number|null, looks: number}} Access
 */

/** @typedef {{programs: Access[], problem: string}} AccessFacts */

const LOOK_EVERY = 5000;
const ADDRESS = "/api/operator";

/** Reads and ends the access of other programs for the operator. Uses no DOM. @extends {WatchingDesk<AccessFacts>} */
export class AccessDesk extends WatchingDesk {
  #cameras;

  /**
   * @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: AccessFacts) => void}} hooks
   * @param {boolean} cameras there may be fixed cameras
   */
  constructor(hooks, cameras) {
    super({ programs: [], problem: "" }, hooks);
    this.#cameras = cameras;
  }

  /** @param {Access} program */
  async end({ session, camera, id }) {
    const path = camera ? `${ADDRESS}/cameras/${camera}/grants/${id}` : `${ADDRESS}/programs/${session}/${id}`;
    const ended = await this.attempt(async () => void (await this.ask("DELETE", path)));
    if (ended) await this.rounds.look();
  }

  /** @override */
  async look() {
    await this.attempt(async () => {
      const { programs } = await this.ask("GET", `${ADDRESS}/programs`);
      const { cameras } = this.#cameras ? await this.ask("GET", `${ADDRESS}/cameras`) : { cameras: [] };
      /** @type {Access[]} */
      const found = [];
      for (const { name, programs: own } of cameras)
        for (const one of own) found.push({ ...one, session: "", camera: name });
      for (const one of programs) found.push({ ...one, camera: "" });
      this.set({ programs: found, problem: "" });
    });
    return LOOK_EVERY;
  }
}

/** @type {Record<string, string>} */
const SCOPES = { watch: "watches", events: "rings", listen: "listens", speak: "speaks" };

/** Programs with access in the operator's panel, each with a button that ends it. Uses no connection. */
export class AccessView {
  #section = byId("access", HTMLElement);
  #list = byId("access-list", HTMLElement);
  #problem = byId("access-problem", HTMLElement);
  #onEnd;
  /** @type {Map<string, {item: HTMLElement, small: HTMLElement}>} */
  #rows = new Map();

  /** @param {{onEnd: (program: Access) => void}} hooks */
  constructor({ onEnd }) {
    this.#onEnd = onEnd;
  }

  /** @param {AccessFacts} facts */
  render({ programs, problem }) {
    tell(this.#problem, problem);
    show(this.#section, programs.length > 0 || problem !== "");
    const ids = programs.map(({ id }) => id);
    if (ids.join() !== [...this.#rows.keys()].join()) {
      this.#rows = new Map(programs.map((one) => [one.id, this.#rows.get(one.id) ?? this.#row(one)]));
      this.#list.replaceChildren(...[...this.#rows.values()].map(({ item }) => item));
    }
    for (const one of programs) {
      const row = this.#rows.get(one.id);
      if (row) say(row.small, words(one));
    }
  }

  /** @param {Access} program */
  #row(program) {
    const small = made("small");
    const about = made("span", {}, made("strong", { translate: false }, program.name), small);
    const end = button(() => this.#onEnd(program), { textContent: "End" });
    end.setAttribute("aria-label", `End the access of ${program.name}`);
    return { item: made("li", {}, made("div", { className: "head" }, about, end)), small };
  }
}

/** The camera's owner, and what the program may do and did. @param {Access} program */
function words({ camera, session, scopes, looks, last_used: used, expires_at: ends }) {
  // Its looks are counted in any case.
  const rights = scopes.filter((scope) => scope !== "look").map((scope) => SCOPES[scope] ?? scope);
  const what = rights.length > 0 ? [rights.join(", ")] : [];
  const did = used ? `Last used at ${clock(used)}` : "Not used yet";
  const left = `${lasted((ends - Date.now()) / 1000)} left`;
  return [camera || `Visitor ${session}`, ...what, counted(looks, "look"), did, left].join(" · ");
}

/** In the operator's panel: programs with access. @param {import("../../core/operator/panel.js").PanelApi} panel */
export function register(panel) {
  const cameras = panel.has("rtsp");
  const desk = new AccessDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) }, cameras);
  const view = new AccessView({ onEnd: (program) => void desk.end(program) });
  panel.add(desk);
}

import { WatchingDesk } from "../../core/operator/desk.js";
import { counted } from "../../core/operator/words.js";
import { button, byId, made, say, show, tell } from "../../core/page/dom.js";

/**
 * A receiver of webhooks.
 * @typedef {{name: string, host: string, state: "unused"|"ok"|"failing"|"gone", detail: string, status: number,
 *   cameras: string[], people: boolean, waiting: number, delivered: number, failed: number}} Hook
 */

/**
 * An alarm that was given up.
 * @typedef {{id: string, webhook: string, camera: string, attempts: number, trouble: string, status: number,
 *   since_seconds: number}} Letter
 */

/** @typedef {{webhooks: Hook[], dead: Letter[], problem: string}} HooksFacts */

const LOOK_EVERY = 3000;
const ADDRESS = "/api/operator/webhooks";

/**
 * Reads the state of webhooks for the operator, and sends what was given up again. Uses no DOM.
 * @extends {WatchingDesk<HooksFacts>}
 */
export class HooksDesk extends WatchingDesk {
  /** @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: HooksFacts) => void}} hooks */
  constructor(hooks) {
    super({ webhooks: [], dead: [], problem: "" }, hooks);
  }

  async look() {
    await this.send("GET", "");
    return LOOK_EVERY;
  }

  /** @param {"GET"|"POST"|"DELETE"} method @param {string} path below the webhooks */
  async send(method, path) {
    await this.attempt(async () => {
      const { webhooks, dead } = await this.ask(method, ADDRESS + path);
      this.set({ webhooks, dead, problem: "" });
    });
  }
}

const STATES = { unused: "nothing sent yet", ok: "arrives", failing: "does not arrive", gone: "wants nothing more" };

/** The receivers of webhooks in the operator's panel, and what was given up. Uses no connection. */
export class HooksView {
  #section = byId("hooks", HTMLElement);
  #list = byId("hooks-list", HTMLElement);
  #dead = byId("hooks-dead", HTMLElement);
  #count = byId("hooks-count", HTMLElement);
  #letters = byId("hooks-letters", HTMLElement);
  #problem = byId("hooks-problem", HTMLElement);
  #send;
  /** @type {Map<string, Row>} */
  #rows = new Map();
  /** @type {Map<string, Row>} */
  #gone = new Map();

  /** @param {{onSend: (method: "POST"|"DELETE", path: string) => void}} hooks */
  constructor({ onSend }) {
    this.#send = onSend;
    byId("hooks-again", HTMLButtonElement).addEventListener("click", () => onSend("POST", "/dead"));
  }

  /** @param {HooksFacts} facts */
  render({ webhooks, dead, problem }) {
    tell(this.#problem, problem);
    show(this.#section, webhooks.length > 0 || problem !== "");
    this.#rows = kept(
      this.#list,
      this.#rows,
      webhooks.map((one) => one.name),
      (name) => new Row([["Send a test", () => this.#send("POST", `/${name}/test`)]]),
    );
    for (const hook of webhooks) {
      const counts = `arrived: ${hook.delivered}, failed attempts: ${hook.failed}, waiting: ${hook.waiting}`;
      this.#rows
        .get(hook.name)
        ?.render(
          hook.name,
          [hook.host, STATES[hook.state], counts].join(" · "),
          [hook.detail, hook.status || ""].filter(Boolean).join(" "),
        );
    }
    show(this.#dead, dead.length > 0);
    say(this.#count, `${counted(dead.length, "alarm")} ${dead.length === 1 ? "was" : "were"} given up`);
    this.#gone = kept(this.#letters, this.#gone, dead.map((one) => one.id), (id) => new Row([
      ["Send again", () => this.#send("POST", `/dead/${id}`)],
      ["Drop it", () => this.#send("DELETE", `/dead/${id}`)],
    ]));
    for (const { id, webhook, camera, trouble, status, attempts } of dead) {
      const words = [camera || "a visitor's or a test", `attempts: ${attempts}`, trouble, status || ""]
        .filter(Boolean)
        .join(" · ");
      this.#gone.get(id)?.render(webhook, words, "");
    }
  }
}

/**
 * Rows by their keys, in this order; those that stay are the same elements.
 * @param {HTMLElement} list
 * @param {Map<string, Row>} rows
 * @param {string[]} keys
 * @param {(key: string) => Row} make
 */
function kept(list, rows, keys, make) {
  if (keys.join() === [...rows.keys()].join()) return rows;
  const next = new Map(keys.map((one) => [one, rows.get(one) ?? make(one)]));
  list.replaceChildren(...[...next.values()].map(({ item }) => item));
  return next;
}

/** A name, words about it, and buttons. */
class Row {
  item = made("li");
  #name = made("strong", { translate: false });
  #small = made("small");
  #detail = made("p", { className: "fine" });
  /** @type {[HTMLButtonElement, string][]} */
  #buttons = [];

  /** @param {[string, () => void][]} buttons words, and what they do */
  constructor(buttons) {
    this.#buttons = buttons.map(([label, act]) => [button(act), label]);
    const words = made("span", {}, this.#name, this.#small);
    const head = made("div", { className: "head" }, words, ...this.#buttons.map(([one]) => one));
    this.item.append(head, this.#detail);
  }

  /** @param {string} name @param {string} words @param {string} detail */
  render(name, words, detail) {
    say(this.#name, name);
    say(this.#small, words);
    tell(this.#detail, detail);
    for (const [one, label] of this.#buttons) {
      say(one, label);
      one.setAttribute("aria-label", `${label}: ${name}`);
    }
  }
}

/** In the operator's panel: the webhooks. @param {import("../../core/operator/panel.js").PanelApi} panel */
export function register(panel) {
  const desk = new HooksDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) });
  const view = new HooksView({ onSend: (method, path) => void desk.send(method, path) });
  panel.add(desk);
}

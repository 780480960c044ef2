import { byId, say, show } from "../page/dom.js";
import { key, plural, text } from "../words/text.js";
import { said } from "./serverwords.js";

/** @typedef {import("./hooks.js").HooksFacts} HooksFacts */

const STATES = { unused: key("nothing sent yet"), ok: key("arrives"), failing: key("does not arrive"), gone: key("wants nothing more") };

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
    say(this.#problem, problem);
    show(this.#problem, problem !== "");
    show(this.#section, webhooks.length > 0 || problem !== "");
    this.#rows = kept(this.#list, this.#rows, webhooks.map((one) => one.name), (name) => new Row([[key("Send a test"), () => this.#send("POST", `/${name}/test`)]]));
    for (const hook of webhooks) {
      const counts = text("arrived: {delivered}, failed attempts: {failed}, waiting: {waiting}", { delivered: hook.delivered, failed: hook.failed, waiting: hook.waiting });
      this.#rows.get(hook.name)?.render(hook.name, [hook.host, text(STATES[hook.state]), counts].join(" · "), [said(hook.detail), hook.status || ""].filter(Boolean).join(" "));
    }
    show(this.#dead, dead.length > 0);
    say(this.#count, plural("{count} alarms were given up", "{count} alarm was given up", dead.length));
    this.#gone = kept(this.#letters, this.#gone, dead.map((one) => one.id), (id) => new Row([
      [key("Send again"), () => this.#send("POST", `/dead/${id}`)],
      [key("Drop it"), () => this.#send("DELETE", `/dead/${id}`)],
    ]));
    for (const { id, webhook, camera, trouble, status, attempts } of dead) {
      const words = [camera || text("a visitor's or a test"), text("attempts: {attempts}", { attempts }), said(trouble), status || ""].filter(Boolean).join(" · ");
      this.#gone.get(id)?.render(webhook, words, "");
    }
  }
}

/** Rows by their keys, in this order; those that stay are the same elements. @param {HTMLElement} list @param {Map<string, Row>} rows @param {string[]} keys @param {(key: string) => Row} make */
function kept(list, rows, keys, make) {
  if (keys.join() === [...rows.keys()].join()) return rows;
  const next = new Map(keys.map((one) => [one, rows.get(one) ?? make(one)]));
  list.replaceChildren(...[...next.values()].map(({ item }) => item));
  return next;
}

/** A name, words about it, and buttons. */
class Row {
  item = document.createElement("li");
  #name = document.createElement("strong");
  #small = document.createElement("small");
  #detail = document.createElement("p");
  /** @type {[HTMLButtonElement, string][]} */
  #buttons = [];

  /** @param {[string, () => void][]} buttons words, and what they do */
  constructor(buttons) {
    this.#name.translate = false;
    const words = document.createElement("span");
    words.append(this.#name, this.#small);
    const head = document.createElement("div");
    head.className = "head";
    head.append(words);
    for (const [label, act] of buttons) {
      const button = document.createElement("button");
      button.type = "button";
      button.addEventListener("click", act);
      this.#buttons.push([button, label]);
      head.append(button);
    }
    this.#detail.className = "fine";
    this.item.append(head, this.#detail);
  }

  /** @param {string} name @param {string} words @param {string} detail */
  render(name, words, detail) {
    say(this.#name, name);
    say(this.#small, words);
    say(this.#detail, detail);
    show(this.#detail, detail !== "");
    for (const [button, label] of this.#buttons) {
      say(button, text(label));
      button.setAttribute("aria-label", `${text(label)}: ${name}`);
    }
  }
}

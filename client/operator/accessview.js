import { byId, say, show } from "../page/dom.js";
import { clock } from "../words/text.js";
import { counted, lasted } from "./words.js";

/** @typedef {import("./access.js").Access} Access */

/** @type {Record<string, string>} */
const SCOPES = { watch: "watches", events: "rings" };

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

  /** @param {import("./access.js").AccessFacts} facts */
  render({ programs, problem }) {
    say(this.#problem, problem);
    show(this.#problem, problem !== "");
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
    const item = document.createElement("li");
    const name = document.createElement("strong");
    name.translate = false;
    name.textContent = program.name;
    const small = document.createElement("small");
    const about = document.createElement("span");
    about.append(name, small);
    const end = document.createElement("button");
    end.type = "button";
    end.textContent = "End";
    end.setAttribute("aria-label", `End the access of ${program.name}`);
    end.addEventListener("click", () => this.#onEnd(program));
    const head = document.createElement("div");
    head.className = "head";
    head.append(about, end);
    item.append(head);
    return { item, small };
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

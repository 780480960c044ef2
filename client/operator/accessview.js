import { byId, say, show } from "../page/dom.js";
import { span } from "../page/routes.js";
import { clock, joined, key, plural, text } from "../words/text.js";

/** @typedef {import("./access.js").Access} Access */

/** @type {Record<string, string>} */
const SCOPES = { watch: key("watches"), events: key("rings") };

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
    end.textContent = text("End");
    end.setAttribute("aria-label", text("End the access of {name}", { name: program.name }));
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
  const rights = scopes.filter((scope) => scope !== "look").map((scope) => text(SCOPES[scope] ?? scope));
  const what = rights.length > 0 ? [joined(rights)] : [];
  const did = used ? text("Last used at {time}", { time: clock(used) }) : text("Not used yet");
  const left = text("{time} left", { time: span(Math.max(0, ends - Date.now())) });
  return [camera || `${text("Visitor")} ${session}`, ...what, plural("{count} looks", "1 look", looks), did, left].join(" · ");
}

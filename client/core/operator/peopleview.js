import { byId, made, show, tell } from "../page/dom.js";
import { counted, lasted } from "./words.js";

/** @typedef {import("./people.js").PeopleFacts} PeopleFacts */

/** @type {Record<string, string>} */
const CAMERAS = {
  "": "no camera",
  starting: "camera starts",
  live: "live",
  stalled: "picture stalled",
  frozen: "picture frozen",
  ended: "camera off",
};

/** The list of sessions and devices in the operator's panel, each with a button to end it. Uses no connection. */
export class PeopleView {
  #sessions = byId("people-sessions", HTMLElement);
  #devices = byId("people-devices", HTMLElement);
  #none = byId("people-none", HTMLElement);
  #problem = byId("people-problem", HTMLElement);
  #endAll = byId("people-end-all", HTMLButtonElement);
  #forgetAll = byId("people-forget-all", HTMLButtonElement);
  #devicesPart = byId("people-devices-part", HTMLElement);
  #drawn = "";

  /** @param {{onEnd: (kind: "sessions"|"devices", name?: string) => void}} hooks */
  constructor({ onEnd }) {
    for (const [list, kind] of /** @type {const} */ ([
      [this.#sessions, "sessions"],
      [this.#devices, "devices"],
    ])) {
      list.addEventListener("click", ({ target }) => {
        const name = target instanceof HTMLButtonElement ? target.value : "";
        if (name) onEnd(kind, name);
      });
    }
    this.#endAll.addEventListener("click", () => onEnd("sessions"));
    this.#forgetAll.addEventListener("click", () => onEnd("devices"));
  }

  /** @param {PeopleFacts} facts */
  render(facts) {
    tell(this.#problem, facts.problem);
    // Do not redraw unchanged rows, so that they keep the focus.
    const drawn = JSON.stringify([facts.sessions, facts.devices]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const focused = document.activeElement instanceof HTMLButtonElement ? document.activeElement.value : "";
    const kinds = new Map(facts.devices.map(({ name, kind }) => [name, kind]));
    this.#sessions.replaceChildren(
      ...facts.sessions.map((one) => {
        const who = one.device ? kinds.get(one.device) ?? "Paired device" : "Visitor";
        const camera = CAMERAS[one.camera] ?? one.camera;
        const parts = [
          one.socket ? camera : `${camera}, page closed`,
          `for ${lasted(one.age_seconds)}`,
          `active ${lasted(one.idle_seconds)} ago`,
          use(one),
        ];
        return row(who, one.name, parts, "End");
      }),
    );
    this.#devices.replaceChildren(
      ...facts.devices.map((one) => {
        const parts = [`paired ${lasted(one.paired_seconds)} ago`, `seen ${lasted(one.seen_seconds)} ago`];
        return row(one.kind, one.name, parts, "Forget");
      }),
    );
    show(this.#none, facts.sessions.length === 0);
    show(this.#endAll, facts.sessions.length > 0);
    show(this.#devicesPart, facts.devices.length > 0);
    const again = focused && document.querySelector(`#people button[value="${focused}"]`);
    if (again instanceof HTMLButtonElement) again.focus({ preventScroll: true });
  }
}

/** The requests of a session to the model. @param {import("./people.js").Seen} session */
function use({ questions, background, visual_tokens }) {
  return [
    counted(questions, "question"),
    counted(background, "unasked look"),
    counted(visual_tokens, "visual token"),
  ].join(", ");
}

/** @param {string} who @param {string} name @param {string[]} parts @param {string} act */
function row(who, name, parts, act) {
  const words = made("span", {}, made("strong", {}, who), made("small", {}, [name, ...parts].join(" · ")));
  const button = made("button", { type: "button", value: name, textContent: act });
  button.setAttribute("aria-label", `${act} ${who} ${name}`);
  return made("li", {}, words, button);
}

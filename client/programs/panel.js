import { ApiError, request } from "../live/api.js";
import { onLanguage, text } from "../words/text.js";
import { Looks } from "./looks.js";
import { ProgramsDialog, ProgramsLight } from "./view.js";
import { whoAsked } from "./words.js";

/** @typedef {import("../live/programmessages.js").ProgramInfo} ProgramInfo */
/** @typedef {import("../live/programmessages.js").ProgramReport} ProgramReport */

// Looks are announced to a screen reader at most this often (ms).
const ANNOUNCE_EVERY = 10_000;

/** Other programs that may look: gives and ends access, and shows every look. Loaded when needed. */
export class ProgramsPanel {
  #visit;
  #announce;
  #dialog;
  #light;
  #looks;
  /** @type {ProgramInfo[]} */
  #programs = [];
  #announcedAt = -Infinity;

  /**
   * @param {import("../live/visit.js").Visit} visit
   * @param {Object} page
   * @param {{add: (entry: HTMLElement, loud: boolean) => void, drop: (entry: HTMLElement) => void, announce: (text: string) => void}} page.chat
   * @param {() => string} page.last key of the last answer, "" without one
   * @param {() => void} page.onChange a look came or went
   */
  constructor(visit, { chat, last, onChange }) {
    this.#visit = visit;
    this.#announce = (/** @type {string} */ words) => chat.announce(words);
    this.#dialog = new ProgramsDialog({
      give: (name, scopes, seconds) => void this.#give(name, scopes, seconds),
      end: (id) => void this.#end(id),
      endAll: () => void this.#end(""),
    });
    this.#light = new ProgramsLight(() => this.open());
    this.#looks = new Looks({
      add: (entry) => {
        chat.add(entry, false);
        onChange();
        return last();
      },
      drop: (entry) => {
        chat.drop(entry);
        onChange();
      },
    });
    onLanguage(() => this.#draw());
  }

  /** True while a program has access. */
  get on() {
    return this.#programs.length > 0;
  }

  /** The looks among the answers, to be kept with them. */
  get asides() {
    return this.#looks.asides;
  }

  open() {
    this.#dialog.open();
    this.#draw();
  }

  /** @param {ProgramReport} message */
  receive(message) {
    if (message.type === "look") {
      const begun = this.#looks.receive(message);
      const now = performance.now();
      if (begun && now - this.#announcedAt > ANNOUNCE_EVERY) {
        this.#announcedAt = now;
        this.#announce(whoAsked(message));
      }
    } else {
      this.#tell(message.programs);
      this.#programs = message.programs;
    }
    this.#draw();
  }

  /** Another session began, which no program has access to. */
  clear() {
    this.#looks.interrupt();
    this.receive({ type: "programs", programs: [], most: 0 });
  }

  /** Delete the looks from the page. */
  forget() {
    this.#looks.forget();
  }

  #draw() {
    this.#dialog.render(this.#programs);
    this.#light.render(this.#programs.map(({ name }) => name), this.#looks.looking);
  }

  /** Say who has access now, and who has it no more. @param {ProgramInfo[]} now */
  #tell(now) {
    const lacks = (/** @type {ProgramInfo[]} */ some, /** @type {ProgramInfo} */ { id }) => !some.some((one) => one.id === id);
    const came = now.filter((one) => lacks(this.#programs, one)).map(({ name }) => text("{name} may look through your camera now.", { name }));
    const gone = this.#programs.filter((one) => lacks(now, one)).map(({ name }) => text("The access of {name} has ended.", { name }));
    if (came.length + gone.length > 0) this.#announce([...came, ...gone].join(" "));
  }

  /** @param {string} name @param {string[]} scopes @param {number} seconds */
  async #give(name, scopes, seconds) {
    this.#dialog.wait(true);
    const made = await this.#request("POST", "", { name, scopes, seconds });
    this.#dialog.wait(false);
    if (!made) return;
    const whole = (/** @type {string} */ path) => new URL(path, location.href).href;
    this.#dialog.give({ name: made.name, token: made.token, mcp: whole(made.mcp), openai: whole(made.openai) });
  }

  /** @param {string} id "" for all */
  async #end(id) {
    const names = this.#programs.filter((one) => !id || one.id === id).map(({ name }) => text("The access of {name} has ended.", { name }));
    if (await this.#request("DELETE", id && `/${id}`)) this.#dialog.say(names.join(" "));
  }

  /** @param {"POST"|"DELETE"} method @param {string} path @param {object} [body] @returns {Promise<any>} null when it failed, which was said */
  async #request(method, path, body) {
    const { session } = this.#visit;
    this.#dialog.say("");
    try {
      await session.ensure();
      return await request(method, `/api/grants${path}?session=${encodeURIComponent(session.id ?? "")}`, { token: session.token, body });
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      const lost = error instanceof ApiError && error.status === 0;
      this.#dialog.say(lost ? text("{problem} Try again when the connection is back.", { problem }) : problem);
      return null;
    }
  }
}

import { ApiError, request } from "../../core/live/api.js";
import { onLanguage, text } from "../../core/words/text.js";
import { Looks } from "./looks.js";
import { ProgramsDialog, ProgramsLight } from "./view.js";
import { whoAsked } from "./words.js";

/** @typedef {import("../../core/live/messages.d.ts").ProgramInfo} ProgramInfo */
/**
 * @typedef {import("../../core/live/messages.d.ts").ProgramList|import("../../core/live/messages.d.ts").ProgramLook}
 *   ProgramReport
 */

/** A program that had access, until when in ms. @typedef {{id: string, name: string, until: number}} Saved */

// Looks are announced to a screen reader at most this often (ms).
const ANNOUNCE_EVERY = 10_000;
// A page that still has the programs answers another one within this time (ms).
const ANSWER_TIME = 500;

/** Other programs that may look: gives and ends access, and shows every look. Loaded when needed. */
export class ProgramsPanel {
  #visit;
  #announce;
  #note;
  #dialog;
  #light;
  #looks;
  /** @type {ProgramInfo[]} */
  #programs = [];
  #perMinute = 0;
  #announcedAt = -Infinity;
  /** The other pages of this server in this browser. */
  #others = new BroadcastChannel("programs");

  /**
   * @param {import("../../core/live/visit.js").Visit} visit
   * @param {Object} page
   * @param {{add: (entry: HTMLElement, loud: boolean) => void, drop: (entry: HTMLElement) => void,
   *   announce: (text: string) => void, note: (text: string) => void}} page.chat
   * @param {() => string} page.last key of the last answer, "" without one
   */
  constructor(visit, { chat, last }) {
    this.#visit = visit;
    this.#announce = (/** @type {string} */ words) => chat.announce(words);
    this.#note = (/** @type {string} */ words) => chat.note(words);
    this.#dialog = new ProgramsDialog({
      give: (name, scopes, seconds) => void this.#give(name, scopes, seconds),
      end: (id) => void this.#end(id),
      endAll: () => void this.#end(""),
    });
    this.#light = new ProgramsLight(
      () => this.open(),
      (ids) => ids.forEach((id) => void this.#end(id)),
    );
    this.#looks = new Looks({
      add: (entry) => {
        chat.add(entry, false);
        return last();
      },
      drop: (entry) => chat.drop(entry),
    });
    onLanguage(() => this.#draw());
    this.#others.addEventListener("message", ({ data }) => {
      const has = this.#programs.find(({ id }) => Array.isArray(data?.asks) && data.asks.includes(id))?.id;
      if (has) this.#others.postMessage({ has });
    });
    window.addEventListener("pagehide", ({ persisted }) => persisted || this.#leave());
    // This page was loaded again: the session that they had access to went with the page before.
    const lost = readSaved().filter(({ until }) => until > Date.now());
    save([]);
    if (lost.length > 0) this.#sayLost(lost);
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
      this.#perMinute = message.looks_per_minute;
      save(message.programs.map(({ id, name, expires_at: until }) => ({ id, name, until })));
    }
    this.#draw();
  }

  /** Another session began, which no program has access to. */
  clear() {
    this.#looks.interrupt();
    if (this.on) this.#note(over(this.#programs));
    this.#programs = [];
    this.receive({ type: "programs", programs: [], most: 0, looks_per_minute: 0 });
  }

  /** Delete the looks from the page. */
  forget() {
    this.#looks.forget();
  }

  #draw() {
    this.#dialog.render(this.#programs, this.#perMinute);
    this.#light.render(this.#programs, this.#looks.looking);
  }

  /**
   * Say whose access went with the page before, unless that page is still there: this one is a copy of its tab.
   * @param {Saved[]} lost
   */
  #sayLost(lost) {
    const ids = lost.map(({ id }) => id);
    const answered = () => {
      clearTimeout(timer);
      this.#others.removeEventListener("message", hear);
    };
    const hear = (/** @type {MessageEvent} */ { data }) => ids.includes(data?.has) && answered();
    const timer = setTimeout(() => (answered(), this.#note(over(lost))), ANSWER_TIME);
    this.#others.addEventListener("message", hear);
    this.#others.postMessage({ asks: ids });
  }

  /** Say who has access now, and who has it no more. @param {ProgramInfo[]} now */
  #tell(now) {
    const lacks = (/** @type {ProgramInfo[]} */ some, /** @type {ProgramInfo} */ { id }) =>
      !some.some((one) => one.id === id);
    const came = now
      .filter((one) => lacks(this.#programs, one))
      .map(({ name }) => text("programs.may_look_now", { name }));
    const gone = this.#programs.filter((one) => lacks(now, one));
    if (came.length + gone.length > 0) this.#announce([...came, over(gone)].join(" ").trim());
  }

  /** The page goes: its session ends unseen, so that programs hear at once that their access is over. */
  #leave() {
    const { session } = this.#visit;
    if (this.on && session.token)
      request("DELETE", address(session.id), { token: session.token, keepalive: true, timeout: 3000 }).catch(() => {});
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
    const ended = over(this.#programs.filter((one) => !id || one.id === id));
    if (await this.#request("DELETE", id && `/${id}`)) this.#dialog.say(ended);
  }

  /**
   * @param {"POST"|"DELETE"} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>} null when it failed; the dialog says why
   */
  async #request(method, path, body) {
    const { session } = this.#visit;
    this.#dialog.say("");
    try {
      await session.ensure();
      return await request(method, address(session.id, path), { token: session.token, body });
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      const lost = error instanceof ApiError && error.status === 0;
      this.#dialog.say(lost ? text("programs.when_back", { problem }) : problem);
      return null;
    }
  }
}

/** @param {string|null} session its id @param {string} [path] */
function address(session, path = "") {
  return `/api/grants${path}?session=${encodeURIComponent(session ?? "")}`;
}

/** @param {{name: string}[]} programs whose access is over */
function over(programs) {
  return programs.map(({ name }) => text("programs.access_ended", { name })).join(" ");
}

/** The programs that had access in this tab before a reload, out of its history entry. @returns {Saved[]} */
function readSaved() {
  const programs = history.state?.programs;
  return Array.isArray(programs)
    ? programs.filter((one) => typeof one?.name === "string" && typeof one.until === "number")
    : [];
}

/** @param {Saved[]} programs */
function save(programs) {
  if (JSON.stringify(history.state?.programs ?? []) === JSON.stringify(programs)) return;
  history.replaceState({ ...history.state, programs }, "");
}

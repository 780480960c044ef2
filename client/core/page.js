import { Visit } from "./live/visit.js";
import { byId } from "./page/dom.js";
import { MissingDialog, Part } from "./page/part.js";
import { keepWish, wish } from "./page/resume.js";
import { waysToLook } from "./page/routes.js";
import { Sheet } from "./page/surroundings.js";
import { StageView } from "./stage/stageview.js";
import { text } from "./words/text.js";

/** @typedef {import("./live/facts.js").Facts} Facts */
/** @typedef {import("./live/messages.d.ts").Ready} Ready */
/** @typedef {import("./page/routes.js").Route} Route */

/**
 * Events of the page. A listener of the first five is also called at once, with the current value.
 * @typedef {Object} Events
 * @property {Facts} facts the state has changed
 * @property {MediaStreamTrack} track on which the server speaks
 * @property {import("./chat/conversation.js").Turn|null} running the question that is under way
 * @property {boolean} choosing the dialog that chooses the camera is open
 * @property {Map<string, Receivers>} receivers `receivers` of the page has changed
 * @property {MediaStream|null} stream of the camera
 * @property {string} asked a question, with this id
 * @property {void} cancel the user wants no answer
 * @property {void} stop the user switches the camera off
 * @property {void} deleted the user deletes all answers
 * @property {void} session another session began
 * @property {void} details the details of the state were opened
 */

/**
 * Programs to which a person may let alerts go.
 * @typedef {Object} Receivers
 * @property {{name: string, host: string, on: boolean}[]} programs
 * @property {string} [about] id of the words on what they get beside alerts
 * @property {string} [note] id of the words that are shown while one of them is on
 * @property {(names: string[]) => boolean} choose alerts go to these alone; false without a connection
 */

/**
 * The page's voice.
 * @typedef {Object} Voice
 * @property {boolean} wanted the user wants to hear answers
 * @property {boolean} speaking an answer is heard
 * @property {(text: string, matters?: boolean, between?: boolean) => boolean} say
 * @property {(tell?: boolean) => boolean} hush
 */

// Messages that wait for a feature that is on its way; the oldest is dropped.
const MOST_WAITING = 40;
const STATES = new Set(["facts", "track", "running", "choosing", "receivers"]);

/** The interface of the page: shared by the core and passed to the `register` of each feature. */
export class Page {
  stage = new StageView();
  sheet = new Sheet(this.stage.app, byId("panel", HTMLElement));
  missing = new MissingDialog();
  /** Set by the parts of the core that have them, before any feature. @type {import("./chat.js").Chat} */
  chat = /** @type {any} */ (null);
  /** @type {import("./dialogs.js").DialogsEntry} */
  dialogs = /** @type {any} */ (null);
  /** Set by the feature that speaks. @type {Voice|null} */
  voice = null;
  /**
   * Answers that were not this page's.
   * @type {{asides: import("./chat/conversation.js").Aside[]}|null}
   */
  others = null;
  /** Tools of the model by their names. @type {Map<string, import("./chat/tools.js").Tool>} */
  tools = new Map();
  /** What the app's shortcuts do, by their names; see launch.js. @type {Map<string, (about: string) => void>} */
  launches = new Map();
  /** Those that get alerts, by their feature; of the present session. @type {Map<string, Receivers>} */
  receivers = new Map();
  /** True for what wants the camera on while the page is hidden. @type {(() => boolean)[]} */
  keepers = [];

  /** @type {Map<string, ((message: any) => unknown)[]>} by the messages' types */
  #takers = new Map();
  /** @type {any[]} */
  #waiting = [];
  /** @type {Map<string, ((value: any) => void)[]>} by the events' names */
  #listeners = new Map();
  /** @type {Map<string, any>} */
  #now = new Map();
  /** @type {Map<string, unknown>} */
  #faces = new Map();
  /** @type {Map<Route, () => boolean>} */
  #routes = new Map([["now", () => true], ["detail", () => true]]);

  visit = new Visit({
    askCode: (wrong, why) => this.dialogs.askCode(this.stage.start, wrong, why),
    onChange: (facts) => this.emit("facts", facts),
    onStream: (stream) => this.emit("stream", stream),
    onMessage: (message) => this.#receive(message),
    onVoice: (track) => this.emit("track", track),
    onEngine: (engine, model) => this.chat.answersNow(engine, model),
    onSent: (id) => this.chat.conversation.sent(id),
    onUnsent: (id) => this.chat.conversation.end(id, "page.not_asked"),
    onBroken: (again) => this.chat.conversation.interrupt("page.answer_lost", again),
    onNewSession: (carried) => {
      this.#waiting.length = 0;
      this.receivers.clear();
      this.emit("session", undefined);
      if (!carried) this.chat.lost();
    },
    onUnshared: (over) => {
      if (over) this.emit("stop", undefined);
      this.note(text("cameras.screen_over"));
    },
    agreed: wish("agreed"),
    onAgreed: (agreed) => keepWish("agreed", agreed),
    keeps: () => this.keepers.some((keeps) => keeps()),
  });

  /**
   * Send a message to the server.
   * @param {import("./live/messages.d.ts").ClientMessage} message
   * @returns {boolean} false without a connection
   */
  send(message) {
    return this.visit.socket.send(message);
  }

  /**
   * Let the person agree to the other machine that gets what a feature sends.
   * @param {string} feature @param {HTMLElement} opener @param {(host: string) => string} words what goes where
   * @returns {Promise<boolean>} true when it may be sent
   */
  async agree(feature, opener, words) {
    const host = this.visit.unagreed(feature);
    if (!host) return true;
    const agreed = await this.dialogs.agree(opener, words(host));
    if (agreed) this.visit.agree(host, feature);
    return agreed;
  }

  /**
   * Take messages of these types. The last that came to take them is asked first, and true from it says that nobody
   * else needs one.
   * @param {string[]} types @param {(message: any) => unknown} take
   */
  take(types, take) {
    for (const type of types) this.#takers.set(type, [take, ...(this.#takers.get(type) ?? [])]);
    // Once its feature is complete
    queueMicrotask(() => this.release(types, (message) => this.#receive(message)));
  }

  /** Have a message wait. @param {any} message */
  hold(message) {
    this.#waiting.push(message);
    if (this.#waiting.length > MOST_WAITING) this.#waiting.shift();
  }

  /** Give on what waits. @param {string[]} types @param {(message: any) => unknown} take */
  release(types, take) {
    const mine = this.#waiting.filter(({ type }) => types.includes(type));
    this.#waiting = this.#waiting.filter((message) => !mine.includes(message));
    mine.forEach(take);
  }

  /** @param {import("./live/messages.d.ts").ServerMessage} message */
  #receive(message) {
    const takers = this.#takers.get(message.type);
    if (takers) takers.some((take) => take(message) === true);
    else this.hold(message);
  }

  /**
   * Listen to what happens.
   * @template {keyof Events} E
   * @param {E} event @param {(value: Events[E]) => void} listener
   */
  when(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
    if (this.#now.has(event)) listener(this.#now.get(event));
  }

  /**
   * @template {keyof Events} E
   * @param {E} event @param {Events[E]} value
   */
  emit(event, value) {
    if (STATES.has(event)) this.#now.set(event, value);
    for (const listener of this.#listeners.get(event) ?? []) listener(value);
  }

  /** Let other features use this object: the face of one. @param {string} feature @param {unknown} face */
  offer(feature, face) {
    this.#faces.set(feature, face);
  }

  /** The face of a feature; undefined where it is off, or not here yet. @param {string} feature @returns {any} */
  find(feature) {
    return this.#faces.get(feature);
  }

  /** Offer a way to look for questions. @param {Route} route @param {() => boolean} offered now */
  route(route, offered) {
    this.#routes.set(route, offered);
  }

  /** The ways to look that are there now, with their words. */
  get ways() {
    return waysToLook((route) => this.#routes.get(route)?.() ?? false);
  }

  /**
   * A part that loads when it is opened, with files beside the module that names it.
   * @param {string} base that module's address
   * @param {string} path of the part's first module
   * @param {{load: () => Promise<any>, missed?: string, sheets?: string[], elements?: string}} part missed: id of the
   *   words that it did not arrive
   */
  part(base, path, { load, missed = "page.missing_dialog", sheets = [], elements }) {
    const at = (/** @type {string} */ file) => new URL(file, base);
    return new Part({
      address: at(path),
      sheets: sheets.map(at),
      elements: elements ? at(elements) : undefined,
      load,
      onMissing: (again) => this.missing.open(missed, again),
    });
  }

  /** Show a line among the answers, which screen readers hear. @param {string} text */
  note(text) {
    this.chat.note(text);
  }

  /** Have a screen reader say it. @param {string} text */
  announce(text) {
    this.chat.view.announce(text);
  }

  /**
   * Speak a remark if the user turned remarks on.
   * @param {string} text
   * @param {boolean} [matters] see `SpeakEntry.say`
   * @param {boolean} [between]
   */
  say(text, matters, between) {
    return this.voice?.say(text, matters, between) ?? false;
  }

  /** Speak it where answers are read aloud, else have a screen reader do so. @param {string} text */
  tell(text) {
    if (!this.say(text, true)) this.announce(text);
  }
}

import { OperatorAccess } from "./access.js";
import { operator } from "./asking.js";
import { OperatorDialog } from "./dialog.js";
import { PeopleDesk } from "./people.js";
import { PeopleView } from "./peopleview.js";

/** @typedef {import("../live/messages.d.ts").ServerMessage} ServerMessage */

/** @template T @typedef {(value: T) => void} Take */

/** A desk that asks while the panel is open. @typedef {{watch: (on: boolean) => void}} Watching */

/**
 * The arguments of a feature's part of the panel.
 * @typedef {Object} PanelApi
 * @property {import("./desk.js").Ask} ask
 * @property {() => string|null} sessionToken of this page's session
 * @property {(feature: string) => boolean} has the feature is on
 * @property {(desk: Watching) => void} add it asks while the panel is open
 * @property {(types: string[], take: Take<any>) => void} take it receives the operator's messages of these types,
 *   first the last ones
 * @property {(take: Take<boolean>) => void} onJoin the socket is asked for them, or has closed
 */

// Messages that are kept for parts which are not loaded yet
const KEPT = 40;

/** The operator's panel: connects its requests with its views. Loaded when needed, not with the page. */
export class OperatorPanel {
  #receive;
  #visit;
  #access;
  #dialog;
  #parts;
  /** @type {Watching[]} */
  #watching;
  /** @type {Map<string, Take<any>[]>} by the messages' types */
  #takers = new Map();
  /** @type {Take<boolean>[]} */
  #joiners = [];
  /** @type {ServerMessage[]} */
  #kept = [];
  #joined = false;

  /**
   * @param {import("../live/visit.js").Visit} visit
   * @param {(types: string[], take: (message: any) => unknown) => void} receive calls `take` with
   *   messages of these types
   * @param {() => void} onChange the token was accepted or refused
   * @param {import("../page/part.js").FeatureParts} parts those of features
   */
  constructor(visit, receive, onChange, parts) {
    this.#parts = parts;
    this.#receive = receive;
    this.#visit = visit;
    const access = (this.#access = new OperatorAccess({
      send: (message) => visit.socket.send(message),
      session: () => visit.session.id ?? "",
      onChange: (facts) => {
        dialog.render(facts);
        operator.ask = facts.known ? access.ask : null;
        onChange();
        this.#watch();
      },
      onJoin: (joined) => {
        this.#joined = joined;
        if (joined) this.#kept = [];
        for (const take of this.#joiners) take(joined);
      },
    }));
    const people = new PeopleDesk({
      ask: access.ask,
      onChange: (facts) => peopleView.render(facts),
      devices: () => parts.has(visit.facts.ready, "pairing"),
    });
    const peopleView = new PeopleView({ onEnd: (kind, name) => void people.end(kind, name) });
    this.#watching = [people];
    const dialog = (this.#dialog = new OperatorDialog({
      onToken: (token) => void access.enter(token).then(() => this.#hear()),
      onOpen: () => {
        this.#hear();
        this.#watch();
      },
      // Without a camera and the panel, nothing needs the socket.
      onClose: () => {
        this.#watch();
        if (!visit.facts.active && visit.facts.socket !== "ended") visit.socket.close();
      },
    }));
    receive(["error"], (message) => access.receive(message));
    this.connected(visit.facts.socket === "open");
  }

  /** Load the parts of features that are on, as soon as the server has said which. */
  #load() {
    const { ready } = this.#visit.facts;
    if (!this.known || !this.#dialog.isOpen) return;
    this.#parts.load(ready, {
      ask: this.#access.ask,
      sessionToken: () => this.#visit.session.token,
      has: (/** @type {string} */ feature) => this.#parts.has(ready, feature),
      add: (/** @type {Watching} */ desk) => {
        this.#watching.push(desk);
        desk.watch(this.known && this.#dialog.isOpen);
      },
      take: (/** @type {string[]} */ types, /** @type {Take<any>} */ take) => this.#take(types, take),
      onJoin: (/** @type {Take<boolean>} */ take) => {
        this.#joiners.push(take);
        take(this.#joined);
      },
    });
  }

  /** True when the server has accepted the token. */
  get known() {
    return this.#access.facts.known;
  }

  /** All secrets here, which no report may contain. @returns {string[]} */
  get secrets() {
    return this.#access.secrets;
  }

  open() {
    this.#dialog.open();
  }

  /** @param {string[]} types @param {Take<any>} take */
  #take(types, take) {
    this.#kept.filter(({ type }) => types.includes(type)).forEach(take);
    const first = types.filter((type) => !this.#takers.has(type));
    for (const type of types) this.#takers.set(type, [...(this.#takers.get(type) ?? []), take]);
    this.#receive(first, (message) => {
      this.#kept = [...this.#kept, message].slice(-KEPT);
      for (const one of this.#takers.get(message.type) ?? []) one(message);
    });
  }

  /** @param {boolean} connected the socket is open */
  connected(connected) {
    this.#access.connected(connected);
    this.#load();
  }

  /** Open the socket for the operator's messages, also without a camera. */
  #hear() {
    if (this.known) this.#visit.socket.open();
  }

  /** Requests that repeat run while the panel is open alone. */
  #watch() {
    const on = this.known && this.#dialog.isOpen;
    for (const desk of this.#watching) desk.watch(on);
    this.#load();
  }
}

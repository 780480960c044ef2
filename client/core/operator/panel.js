import { operator } from "./asking.js";
import { EngineDesk } from "./engine.js";
import { EngineDialog } from "./enginedialog.js";
import { FetchDesk } from "./fetching.js";
import { FetchView } from "./fetchview.js";
import { PeopleDesk } from "./people.js";
import { PeopleView } from "./peopleview.js";

/**
 * What a feature's part of the panel gets.
 * @typedef {Object} PanelApi
 * @property {import("./desk.js").Ask} ask
 * @property {() => string|null} sessionToken of this page's session
 * @property {(feature: string) => boolean} has the feature is on
 * @property {(desk: import("./desk.js").WatchingDesk<any>) => void} add it asks while the panel is open
 * @property {(take: (facts: import("./engine.js").EngineFacts) => void) => void} onEngine
 */

/** The operator's panel: connects its requests with its views. Loaded when needed, not with the page. */
export class OperatorPanel {
  #visit;
  #ask;
  #engine;
  #dialog;
  /** @type {import("./desk.js").WatchingDesk<any>[]} */
  #watching;
  #fetch;
  #parts;
  /** @type {((facts: import("./engine.js").EngineFacts) => void)[]} */
  #takers = [];

  /**
   * @param {import("../live/visit.js").Visit} visit
   * @param {() => void} onChange the token was accepted or refused
   * @param {import("../page/part.js").FeatureParts} parts those of features
   */
  constructor(visit, onChange, parts) {
    this.#parts = parts;
    this.#visit = visit;
    const engine = (this.#engine = new EngineDesk({
      send: (message) => visit.socket.send(message),
      session: () => visit.session.id ?? "",
      onChange: (facts) => {
        dialog.render(facts);
        operator.ask = facts.known ? ask : null;
        onChange();
        this.#watch();
        for (const take of this.#takers) take(facts);
      },
    }));
    /** @type {import("./desk.js").Ask} */
    const ask = (method, path, body, as) => engine.ask(method, path, body, as);
    const people = new PeopleDesk({
      ask,
      onChange: (facts) => peopleView.render(facts),
      devices: () => parts.has(visit.facts.ready, "pairing"),
    });
    const peopleView = new PeopleView({ onEnd: (kind, name) => void people.end(kind, name) });
    const fetch = new FetchDesk({
      ask,
      onChange: (facts) => fetchView.render(facts),
      onHere: () => void engine.refresh(true),
    });
    const fetchView = new FetchView({ onFetch: (model) => void fetch.start(model), onPause: () => void fetch.pause() });
    this.#watching = [people];
    this.#fetch = fetch;
    const dialog = (this.#dialog = new EngineDialog({
      onToken: (token) => void engine.enter(token).then(() => this.#hear()),
      onOpen: () => {
        this.#hear();
        this.#watch();
        void engine.refresh();
      },
      // Without a camera and the panel, nothing needs the socket.
      onClose: () => {
        this.#watch();
        if (!visit.facts.active && visit.facts.socket !== "ended") visit.socket.close();
      },
      onModel: (model) => fetchView.choose(model),
      onChoice: (choice) => engine.choose(choice),
      onStart: (choice) => void engine.start(choice),
      onStop: () => void engine.stop(),
    }));
    this.#ask = ask;
    this.connected(visit.facts.socket === "open");
  }

  /** Load the parts of features that are on, as soon as the server has said which. */
  async #load() {
    const { ready } = this.#visit.facts;
    if (!this.known || !this.#dialog.isOpen) return;
    await this.#parts.load(ready, {
      ask: this.#ask,
      sessionToken: () => this.#visit.session.token,
      has: (feature) => this.#parts.has(ready, feature),
      add: (desk) => {
        this.#watching.push(desk);
        desk.watch(this.known && this.#dialog.isOpen);
      },
      onEngine: (take) => {
        this.#takers.push(take);
        take(this.#engine.facts);
      },
    });
  }

  /** True when the server has accepted the token. */
  get known() {
    return this.#engine.facts.known;
  }

  /** All secrets here, which no report may contain. @returns {string[]} */
  get secrets() {
    return this.#engine.secrets;
  }

  open() {
    this.#dialog.open();
  }

  /**
   * @param {import("../live/messages.d.ts").ServerMessage} message
   * @returns {boolean} true when it was for the operator
   */
  receive(message) {
    return this.#engine.receive(message);
  }

  /** @param {boolean} connected the socket is open */
  connected(connected) {
    this.#engine.connected(connected);
    void this.#load();
  }

  /** Open the socket for the operator's messages, also without a camera. */
  #hear() {
    if (this.known) this.#visit.socket.open();
  }

  /** Requests that repeat run while the panel is open alone. */
  #watch() {
    const on = this.known && this.#dialog.isOpen;
    for (const desk of this.#watching) desk.watch(on);
    this.#fetch.watch(on && this.#engine.facts.hosts);
    void this.#load();
  }
}

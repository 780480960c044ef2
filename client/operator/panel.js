import { AccessDesk } from "./access.js";
import { AccessView } from "./accessview.js";
import { CamerasDesk } from "./cameras.js";
import { CamerasView } from "./camerasview.js";
import { EngineDesk } from "./engine.js";
import { EngineDialog } from "./enginedialog.js";
import { FetchDesk } from "./fetching.js";
import { FetchView } from "./fetchview.js";
import { GatewaysDesk } from "./gateways.js";
import { GatewaysView } from "./gatewaysview.js";
import { HooksDesk } from "./hooks.js";
import { HooksView } from "./hooksview.js";
import { MAKES, MakingDesk } from "./making.js";
import { MakingView } from "./makingview.js";
import { MqttDesk } from "./mqtt.js";
import { MqttView } from "./mqttview.js";
import { PeopleDesk } from "./people.js";
import { PeopleView } from "./peopleview.js";
import { SpeechDesk } from "./speech.js";
import { SpeechView } from "./speechview.js";

/** The operator's panel: connects its requests with its views. Loaded when needed, not with the page. */
export class OperatorPanel {
  #visit;
  #engine;
  #dialog;
  /** @type {import("./desk.js").WatchingDesk<any>[]} */
  #watching;
  #making;

  /** @param {import("../live/visit.js").Visit} visit @param {() => void} onChange the token was accepted or refused */
  constructor(visit, onChange) {
    this.#visit = visit;
    const engine = (this.#engine = new EngineDesk({
      send: (message) => visit.socket.send(message),
      session: () => visit.session.id ?? "",
      onChange: (facts) => {
        dialog.render(facts);
        onChange();
        this.#watch();
        making.watch(facts.known && facts.report?.state === "ready" && MAKES.includes(facts.report.model_type ?? ""));
      },
    }));
    /** @type {import("./desk.js").Ask} */
    const ask = (method, path, body, as) => engine.ask(method, path, body, as);
    const making = this.#making = new MakingDesk({ ask, onChange: (facts) => makingView.render(facts) });
    const makingView = new MakingView({
      onStart: (wishes) => void making.start(wishes),
      onRefuse: (problem) => making.refuse(problem),
      onCancel: () => void making.cancel(),
      sessionToken: () => visit.session.token,
    });
    const people = new PeopleDesk({ ask, onChange: (facts) => peopleView.render(facts) });
    const peopleView = new PeopleView({ onEnd: (kind, name) => void people.end(kind, name) });
    const gateways = new GatewaysDesk({ ask, onChange: (facts) => gatewaysView.render(facts) });
    const gatewaysView = new GatewaysView({ onDrain: (on) => void gateways.drain(on) });
    const cameras = new CamerasDesk({ ask, onChange: (facts) => camerasView.render(facts) });
    const camerasView = new CamerasView({
      onShow: (name, shown) => cameras.show(name, shown),
      onRetry: (name) => void cameras.retry(name),
      onQuestion: (name, question) => void cameras.question(name, question),
    });
    const hooks = new HooksDesk({ ask, onChange: (facts) => hooksView.render(facts) });
    const hooksView = new HooksView({ onSend: (method, path) => void hooks.send(method, path) });
    const mqttView = new MqttView();
    const mqtt = new MqttDesk({ ask, onChange: (facts) => mqttView.render(facts) });
    const access = new AccessDesk({ ask, onChange: (facts) => accessView.render(facts) });
    const accessView = new AccessView({ onEnd: (program) => void access.end(program) });
    const speech = new SpeechDesk({ ask, onChange: (facts) => speechView.render(facts) });
    const speechView = new SpeechView({ onChoose: (folder) => void speech.choose(folder) });
    const fetch = new FetchDesk({
      ask,
      onChange: (facts) => fetchView.render(facts),
      onHere: () => void engine.refresh(true),
    });
    const fetchView = new FetchView({ onFetch: (model) => void fetch.start(model), onPause: () => void fetch.pause() });
    this.#watching = [people, gateways, cameras, hooks, mqtt, access, speech, fetch];
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
    this.connected(visit.facts.socket === "open");
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

  /** @param {import("../live/messages.js").ServerMessage} message @returns {boolean} true when it was for the operator */
  receive(message) {
    return this.#engine.receive(message);
  }

  /** @param {boolean} connected the socket is open */
  connected(connected) {
    this.#engine.connected(connected);
  }

  /** Open the socket for the operator's messages, also without a camera. */
  #hear() {
    if (this.known) this.#visit.socket.open();
  }

  /** Requests that repeat run while the panel is open alone. */
  #watch() {
    const on = this.known && this.#dialog.isOpen;
    for (const desk of this.#watching) desk.watch(on);
  }
}

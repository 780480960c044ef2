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

/** The operator's panel: connects its requests with its views. Loaded when needed, not with the page. */
export class OperatorPanel {
  #visit;
  #engine;
  #dialog;
  #people;
  #gateways;
  #cameras;
  #hooks;
  #mqtt;
  #access;
  #fetch;

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
    const making = new MakingDesk({
      ask: (method, path, body, as) => engine.ask(method, path, body, as),
      onChange: (facts) => makingView.render(facts),
    });
    const makingView = new MakingView({
      onStart: (wishes) => void making.start(wishes),
      onRefuse: (problem) => making.refuse(problem),
      onCancel: () => void making.cancel(),
      sessionToken: () => visit.session.token,
    });
    const people = (this.#people = new PeopleDesk({
      ask: (method, path, body, as) => engine.ask(method, path, body, as),
      onChange: (facts) => peopleView.render(facts),
    }));
    const peopleView = new PeopleView({ onEnd: (kind, name) => void people.end(kind, name) });
    const gateways = (this.#gateways = new GatewaysDesk({
      ask: (method, path) => engine.ask(method, path),
      onChange: (facts) => gatewaysView.render(facts),
    }));
    const gatewaysView = new GatewaysView({ onDrain: (on) => void gateways.drain(on) });
    const cameras = (this.#cameras = new CamerasDesk({
      ask: (method, path, body, as) => engine.ask(method, path, body, as),
      onChange: (facts) => camerasView.render(facts),
    }));
    const camerasView = new CamerasView({
      onShow: (name, shown) => cameras.show(name, shown),
      onRetry: (name) => void cameras.retry(name),
      onQuestion: (name, question) => void cameras.question(name, question),
    });
    const hooks = (this.#hooks = new HooksDesk({
      ask: (method, path) => engine.ask(method, path),
      onChange: (facts) => hooksView.render(facts),
    }));
    const hooksView = new HooksView({ onSend: (method, path) => void hooks.send(method, path) });
    const mqttView = new MqttView();
    this.#mqtt = new MqttDesk({ ask: (method, path) => engine.ask(method, path), onChange: (facts) => mqttView.render(facts) });
    const access = (this.#access = new AccessDesk({
      ask: (method, path) => engine.ask(method, path),
      onChange: (facts) => accessView.render(facts),
    }));
    const accessView = new AccessView({ onEnd: (program) => void access.end(program) });
    const fetch = (this.#fetch = new FetchDesk({
      ask: (method, path, body) => engine.ask(method, path, body),
      onChange: (facts) => fetchView.render(facts),
      onHere: () => void engine.refresh(true),
    }));
    const fetchView = new FetchView({ onFetch: (model) => void fetch.start(model), onPause: () => void fetch.pause() });
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
    this.#people.watch(this.known && this.#dialog.isOpen);
    this.#gateways.watch(this.known && this.#dialog.isOpen);
    this.#cameras.watch(this.known && this.#dialog.isOpen);
    this.#hooks.watch(this.known && this.#dialog.isOpen);
    this.#mqtt.watch(this.known && this.#dialog.isOpen);
    this.#access.watch(this.known && this.#dialog.isOpen);
    this.#fetch.watch(this.known && this.#dialog.isOpen);
  }
}

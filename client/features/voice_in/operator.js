import { WatchingDesk } from "../../core/operator/desk.js";
import { byId, say, show, tell } from "../../core/page/dom.js";

/** @typedef {{state: "loading"|"ready"|"unreachable", detail: string}} SpeechPart */

/**
 * Engines that recognise and synthesise speech; chosen: a local recogniser in place of the one in the settings.
 * @typedef {{recogniser: SpeechPart|null, voice: SpeechPart|null, chosen: (SpeechPart & {folder: string})|null,
 *   busy: boolean, problem: string}} SpeechFacts
 */

// Between two looks (ms), and while a model loads
const LOOK_EVERY = 5000;
const LOOK_SOON = 1000;
const ADDRESS = "/api/operator/speech";

/**
 * Reads the state of speech for the operator, and loads a recogniser. Uses no DOM. @extends {WatchingDesk<SpeechFacts>}
 */
export class SpeechDesk extends WatchingDesk {
  #folder = "";
  // Why the last choice was refused; looks leave it there.
  #refused = "";

  /** @param {{ask: import("../../core/operator/desk.js").Ask, onChange: (facts: SpeechFacts) => void}} hooks */
  constructor(hooks) {
    super({ recogniser: null, voice: null, chosen: null, busy: false, problem: "" }, hooks);
  }

  /** @param {string} folder of a model on the server; "": the settings' recogniser again */
  async choose(folder) {
    if (this.facts.busy) return;
    this.#folder = folder;
    this.#refused = "";
    this.set({ busy: true, problem: "" });
    await this.rounds.look(folder ? "POST" : "DELETE");
    this.set({ busy: false });
  }

  /** @param {"GET"|"POST"|"DELETE"} method */
  async look(method = "GET") {
    const [path, body] =
      method === "GET"
        ? [ADDRESS, undefined]
        : [`${ADDRESS}/recogniser`, method === "POST" ? { folder: this.#folder } : undefined];
    const fine = await this.attempt(async () =>
      this.set({ ...(await this.ask(method, path, body)), problem: this.#refused }),
    );
    if (method !== "GET" && !fine) this.#refused = this.facts.problem;
    return this.facts.chosen?.state === "loading" ? LOOK_SOON : LOOK_EVERY;
  }
}

const STATES = { loading: "loading", ready: "ready", unreachable: "does not work" };

/** Speech in the operator's panel: both directions, and the folder of a recogniser to load. Uses no connection. */
export class SpeechView {
  #ear = byId("speech-ear", HTMLElement);
  #earDetail = byId("speech-ear-detail", HTMLElement);
  #voice = byId("speech-voice", HTMLElement);
  #voiceDetail = byId("speech-voice-detail", HTMLElement);
  #folder = byId("speech-folder", HTMLInputElement);
  #load = byId("speech-load", HTMLButtonElement);
  #stop = byId("speech-stop", HTMLButtonElement);
  #problem = byId("speech-problem", HTMLElement);

  /** @param {{onChoose: (folder: string) => void}} hooks "": the settings' recogniser again */
  constructor({ onChoose }) {
    byId("speech-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      // An empty one would ask for the recogniser of the settings.
      this.#folder.value = this.#folder.value.trim();
      if (this.#folder.reportValidity()) onChoose(this.#folder.value);
    });
    this.#stop.addEventListener("click", () => onChoose(""));
  }

  /** @param {SpeechFacts} facts */
  render({ recogniser, voice, chosen, busy, problem }) {
    tell(this.#problem, problem);
    const ear = chosen ?? recogniser;
    say(this.#ear, chosen ? `${chosen.folder} · ${stateOf(chosen)}` : stateOf(recogniser));
    explain(this.#earDetail, ear?.detail);
    show(this.#earDetail, Boolean(ear?.detail) && ear?.state !== "loading");
    say(this.#voice, stateOf(voice));
    explain(this.#voiceDetail, voice?.detail);
    show(this.#voiceDetail, Boolean(voice?.detail) && voice?.state !== "loading");
    this.#load.disabled = this.#stop.disabled = busy;
    show(this.#stop, chosen !== null);
  }
}

/** @param {SpeechPart|null} part */
function stateOf(part) {
  return part ? STATES[part.state] : "not set";
}

/** @param {HTMLElement} element @param {string} [detail] the server's */
function explain(element, detail = "") {
  say(element, detail);
}

/** In the operator's panel: the models of speech. @param {import("../../core/operator/panel.js").PanelApi} panel */
export function register(panel) {
  const desk = new SpeechDesk({ ask: panel.ask, onChange: (facts) => view.render(facts) });
  const view = new SpeechView({ onChoose: (folder) => void desk.choose(folder) });
  panel.add(desk);
}

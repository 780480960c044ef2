import { byId, say, show } from "../page/dom.js";

/** @typedef {import("./speech.js").SpeechPart} SpeechPart */

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

  /** @param {import("./speech.js").SpeechFacts} facts */
  render({ recogniser, voice, chosen, busy, problem }) {
    say(this.#problem, problem);
    show(this.#problem, problem !== "");
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

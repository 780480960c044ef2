import { byId, say, show, tell } from "../../../core/page/dom.js";
import { bytes, underWay } from "./words.js";

/** @typedef {import("./desk.js").Model} Model */
/** @typedef {import("./fetching.js").FetchFacts} FetchFacts */

/** The line of each state. @type {Record<string, (model: string, part: string) => string>} */
const STATES = {
  fetching: (model, part) => `Fetching ${model}: ${part}`,
  checking: (model, part) => `Checking ${model}: ${part}`,
  paused: (model, part) => `${model} is paused at ${part}. The part that came is kept.`,
  failed: (model) => `${model} was not fetched. The part that came is kept.`,
  done: (model) => `${model} is here. Choose it below.`,
};

/**
 * The model that is fetched, in the panel's first card, and the button at a model that is not here. Uses no connection.
 */
export class FetchView {
  #now = byId("fetch-now", HTMLElement);
  #text = byId("fetch-text", HTMLElement);
  #bar = byId("fetch-bar", HTMLProgressElement);
  #error = byId("fetch-error", HTMLElement);
  // In the card of what is fetched, and at a model that can be
  #room = [byId("fetch-room", HTMLElement), byId("fetch-space", HTMLElement)];
  #pause = byId("fetch-pause", HTMLButtonElement);
  #resume = byId("fetch-resume", HTMLButtonElement);
  #offer = byId("fetch-offer", HTMLElement);
  #start = byId("fetch-start", HTMLButtonElement);
  #why = byId("fetch-why", HTMLElement);
  #command = byId("fetch-command", HTMLElement);
  /** @type {Model|null} */
  #chosen = null;
  /** @type {FetchFacts|null} */
  #facts = null;
  // Its button was pressed, and it has not begun
  #asked = "";

  /** @param {{onFetch: (model: string) => void, onPause: () => void}} hooks */
  constructor({ onFetch, onPause }) {
    this.#start.addEventListener("click", () => {
      this.#asked = this.#chosen?.id ?? "";
      if (this.#asked) onFetch(this.#asked);
    });
    this.#resume.addEventListener("click", () => onFetch(this.#facts?.fetching?.model ?? ""));
    this.#pause.addEventListener("click", onPause);
  }

  /** @param {Model|null} model the one that is chosen in the list */
  choose(model) {
    this.#chosen = model;
    if (this.#facts) this.render(this.#facts);
  }

  /** @param {FetchFacts} facts */
  render(facts) {
    this.#facts = facts;
    const { fetching, busy, problem } = facts;
    if (!fetching) return;
    const { state, model, done_bytes: done, total_bytes: total, free_bytes: free, error, refused } = fetching;
    const line = STATES[state]?.(model, `${bytes(done)} of ${bytes(total)}`);
    show(this.#now, line !== undefined);
    say(this.#text, line ?? "");
    const running = underWay(fetching);
    show(this.#bar, running);
    if (total) this.#bar.value = (100 * done) / total;
    else this.#bar.removeAttribute("value");
    for (const room of this.#room) {
      say(room, typeof free === "number" ? `${bytes(free)} free on the server's disk` : "");
      show(room, typeof free === "number");
    }
    tell(this.#error, error);
    show(this.#pause, running);
    show(this.#resume, !refused && (state === "paused" || state === "failed"));
    this.#pause.disabled = this.#resume.disabled = this.#start.disabled = busy;
    const command = this.#chosen?.fetch ?? "";
    const mine = model === this.#chosen?.id && (running || state === "paused" || state === "failed");
    show(this.#offer, command !== "" && !mine);
    show(this.#start, refused === "" && !running);
    const waits = running ? "Another model is being fetched." : "";
    say(this.#why, problem || refused || waits);
    show(this.#why, problem !== "" || refused !== "" || waits !== "");
    this.#why.classList.toggle("problem", problem !== "");
    say(this.#command, command);
    show(this.#command, refused !== "");
    // The button has gone, and the progress may be far above it.
    if (running && model === this.#asked) byId("engine-now", HTMLElement).focus();
    if (running || problem) this.#asked = "";
  }
}

import { Earcons } from "../../core/page/earcons.js";
import { Speaking } from "./speaking.js";
import { SpokenStates } from "./states.js";

/** @typedef {import("../../core/live/messages.d.ts").ServerMessage} ServerMessage */

/** Spoken answers and states, and tones. Loaded when needed, not with the page. */
export class Spoken {
  #speaking;
  #earcons;
  /** @type {SpokenStates|null} null while nothing is spoken */
  #states = null;
  #hooks;

  /**
   * @param {ConstructorParameters<typeof Speaking>[0] & {
   *   say: (text: string) => boolean, tones: () => boolean, guided: () => boolean,
   *   verbosity: () => import("../../core/page/settings.js").Settings["verbosity"]}} hooks see `Speaking`
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#speaking = new Speaking(hooks);
    this.#earcons = new Earcons({ wanted: hooks.tones, hears: () => this.id !== "" });
  }

  /** id of the question whose answer is spoken; "" without one */
  get id() {
    return this.#speaking.id;
  }

  /** A person has tapped. */
  open() {
    this.#earcons.prepare();
  }

  /** @param {MediaStreamTrack|null} track */
  play(track) {
    this.#speaking.play(track);
  }

  /** @param {import("../../core/live/facts.js").Facts} facts */
  render(facts) {
    const { say, verbosity, guided, speech } = this.#hooks;
    if (speech.supported) this.#states ??= new SpokenStates({ say, verbosity, guided, earcons: this.#earcons });
    this.#states?.render(facts);
    this.#speaking.connected(facts.socket === "open");
  }

  /** @param {boolean} thinking a question is on its way, and no word of its answer is there */
  thinking(thinking) {
    this.#states?.thinking(thinking);
  }

  /** Stop speaking. */
  off() {
    this.#states?.off();
    this.#states = null;
    this.#speaking.off();
  }

  /** @param {boolean} [tell] see `Speaking.hush` */
  hush(tell) {
    return this.#speaking.hush(tell);
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about speech */
  receive(message) {
    return this.#speaking.receive(message);
  }
}

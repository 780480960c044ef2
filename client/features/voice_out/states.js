import { byId } from "../../core/page/dom.js";
import { card, notice } from "../../core/page/words.js";
import { backWords, problemWords } from "./words.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/facts.js").Facts} Facts */
/** @typedef {import("../../core/page/settings.js").Settings["verbosity"]} Verbosity */
/** @typedef {import("./words.js").Problem} Problem */

// A state that lasts for less (ms) is not spoken.
const SETTLED = 900;
// Milliseconds without a word of the answer before the first tone, between two, and before the spoken state
const TICK_FIRST = 1500;
const TICK_EVERY = 3000;
const SAY_AFTER = 4500;

/** Announces the states of camera and connection, and answers on their way, by voice. */
export class SpokenStates {
  #say;
  #verbosity;
  #guided;
  #earcons;
  // Screen readers announce these, unless they are spoken.
  #live = [byId("notice", HTMLElement), byId("card", HTMLElement)];
  /** @type {Problem|null} that was spoken last, until it is over */
  #told = null;
  /** @type {Problem|null} */
  #now = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #settling;
  /** @type {ReturnType<typeof setTimeout>[]} */
  #waits = [];
  #thinking = false;

  /**
   * @param {Object} hooks
   * @param {(text: string) => boolean} hooks.say
   * @param {() => Verbosity} hooks.verbosity
   * @param {() => boolean} hooks.guided hints how to move the camera are on
   * @param {import("../../core/page/earcons.js").Earcons} hooks.earcons
   */
  constructor({ say, verbosity, guided, earcons }) {
    this.#say = say;
    this.#verbosity = verbosity;
    this.#guided = guided;
    this.#earcons = earcons;
    for (const region of this.#live) region.setAttribute("aria-live", "off");
  }

  /** Stop speaking; screen readers announce states again. */
  off() {
    clearTimeout(this.#settling);
    this.thinking(false);
    for (const region of this.#live) region.setAttribute("aria-live", "polite");
  }

  /** @param {Facts} facts */
  render(facts) {
    const found = problemOf(facts, this.#guided());
    if (found?.title === this.#now?.title) return;
    this.#now = found;
    clearTimeout(this.#settling);
    this.#settling = setTimeout(() => this.#settled(), SETTLED);
  }

  /** @param {boolean} thinking a question is on its way, and no word of its answer is there */
  thinking(thinking) {
    if (thinking === this.#thinking) return;
    this.#thinking = thinking;
    for (const timer of this.#waits.splice(0)) clearTimeout(timer);
    if (!thinking) return;
    const tick = () => {
      this.#earcons.play("thinking");
      this.#waits[0] = setTimeout(tick, TICK_EVERY);
    };
    this.#waits = [
      setTimeout(tick, TICK_FIRST),
      setTimeout(() => this.#verbosity() !== "short" && this.#say(text("chat.thinking")), SAY_AFTER),
    ];
  }

  #settled() {
    const [now, told] = [this.#now, this.#told];
    if (now?.title === told?.title) return;
    const words = now ? problemWords(now, this.#verbosity()) : told ? backWords(told, this.#verbosity()) : "";
    this.#told = now;
    if (now?.tone === "bad" || now?.kind === "camera") this.#earcons.play("lost");
    if (words) this.#say(words);
  }
}

/** @param {Facts} facts @param {boolean} guided @returns {Problem|null} what is wrong now, if anything is */
function problemOf(facts, guided) {
  const instead = card(facts);
  if (instead && instead.tone !== "off" && instead.tone !== "busy") return { ...instead, kind: "camera" };
  const shown = notice(facts);
  // The user did that.
  if (!shown || facts.held) return null;
  const connected =
    facts.socket === "open" && !facts.cut && (facts.link === "connected" || facts.camera === "elsewhere");
  const { status } = facts;
  if (connected && (status?.dark || status?.blurred || status?.black) && status?.camera === "live") {
    // The guide says that, too.
    return guided ? null : { ...shown, kind: "light" };
  }
  if (connected && (facts.muted || status?.camera !== "live")) return { ...shown, kind: "camera" };
  return { ...shown, kind: connected ? "engine" : "connection" };
}

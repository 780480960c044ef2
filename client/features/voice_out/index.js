import { languageOfTurn } from "../../core/chat/chatview.js";
import { byId } from "../../core/page/dom.js";
import { keepWish, wish } from "../../core/page/resume.js";
import { settings } from "../../core/page/settings.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/facts.js").Facts} Facts */
/** @typedef {import("../../core/page.js").Page} Page */

/** Answers that are spoken. @param {Page} page */
export function register(page) {
  const entry = (page.voice = new SpeakEntry(page));
  page.take(["say", "speaking", "response", "error"], (message) => entry.receive(message));
  page.when("track", (track) => entry.play(track));
  page.when("facts", (facts) => entry.render(facts));
  page.when("running", (running) => entry.running(running));
  page.when("cancel", () => entry.hush());
}

/** The button for spoken answers, and the way to the part that speaks, which loads with the first wish. */
export class SpeakEntry {
  button = byId("speak", HTMLButtonElement);

  /** @type {import("../../core/page/part.js").Part<import("./spoken.js").Spoken>} */
  #part;
  #wanted = wish("speak") === true;
  /** @type {MediaStreamTrack|null} */
  #track = null;
  /** @type {Facts|null} */
  #facts = null;
  #page;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#part = page.part(import.meta.url, "./spoken.js", {
      load: async () => new (await import("./spoken.js")).Spoken(this.#hooks()),
      missed: "page.missing_voice",
    });
    this.button.addEventListener("click", () => void this.want(!this.#wanted));
    // Until now a press had no effect.
    this.button.disabled = false;
    this.#render();
    if (this.#wanted) void this.#part.ahead().then(() => this.#begin());
  }

  /** For the part */
  #hooks() {
    const { conversation, marks, speech } = this.#page.chat;
    const language = (/** @type {string} */ id) => {
      const turn = conversation.byId(id);
      return turn ? languageOfTurn(turn) : "";
    };
    return {
      send: (/** @type {any} */ message) => this.#page.send(message),
      speech,
      language,
      onChange: () => this.#page.chat.renderRunning(),
      mark: (/** @type {string} */ id, /** @type {number} */ start, /** @type {number} */ end) =>
        marks.mark(conversation.byId(id)?.key ?? "", start, end),
      verbosity: () => settings().verbosity,
      guided: () => Boolean(this.#page.find("guidance")?.on),
      tones: () => settings().tones,
      say: (/** @type {string} */ words) => this.say(words, true),
    };
  }

  get wanted() {
    return this.#wanted;
  }

  /** True while an answer is spoken. */
  get speaking() {
    return Boolean(this.#part.here?.id);
  }

  /**
   * Speak a short remark of the page if the user turned remarks on.
   * @param {string} text @param {boolean|number} [matters] it waits for the end of an answer, a number: so long (ms);
   *   else it is dropped
   * @param {boolean} [between] nothing is heard of the answer now: more of it is to come
   * @returns {boolean} false when it will not be spoken
   */
  say(text, matters = false, between = false) {
    if (!this.#wanted || !this.#page.chat.speech.supported) return false;
    if (this.speaking && !this.#page.chat.speech.busy && !between) return false;
    this.#page.chat.speech.remark(text, matters);
    return true;
  }

  /** @param {boolean} wanted */
  async want(wanted) {
    const words = (/** @type {string} */ host) => text("chat.speak_to", { host });
    if (wanted && !(await this.#page.agree("voice_out", this.button, words))) return;
    this.#wanted = wanted;
    keepWish("speak", wanted);
    this.#render();
    this.#page.chat.renderRunning();
    if (!wanted) return this.#part.here?.off();
    await this.#part.open(this.button);
    this.#begin();
  }

  /**
   * Be silent at once.
   * @param {boolean} [tell] see `Speaking.hush`
   * @returns {boolean} true when something was spoken
   */
  hush(tell) {
    return this.#part.here?.hush(tell) ?? false;
  }

  /** @param {MediaStreamTrack} track on which the server speaks */
  play(track) {
    this.#track = track;
    if (this.#wanted) this.#part.here?.play(track);
  }

  /** @param {Facts} facts */
  render(facts) {
    this.#facts = facts;
    const host = facts.ready?.features.voice_out?.elsewhere;
    this.button.title = host ? text("chat.speak_to", { host }) : "";
    if (this.#wanted) this.#part.here?.render(facts);
  }

  /** @param {import("../../core/chat/conversation.js").Turn|null} running */
  running(running) {
    const thinking = running !== null && ["sent", "delayed", "thinking"].includes(running.state);
    if (this.#wanted) this.#part.here?.thinking(thinking);
  }

  /** @param {any} message @returns {boolean} true when it was about speech */
  receive(message) {
    return (this.#wanted && this.#part.here?.receive(message)) || message.type === "say" || message.type === "speaking";
  }

  #begin() {
    if (!this.#wanted || !this.#part.here) return;
    this.#part.here.play(this.#track);
    if (this.#facts) this.#part.here.render(this.#facts);
    this.#page.chat.renderRunning(); // a question may run already
  }

  #render() {
    this.button.setAttribute("aria-pressed", String(this.#wanted));
    this.#page.chat.view.spoken = this.#wanted;
    this.#page.chat.view.say = (text, matters) =>
      (matters || settings().verbosity !== "short") && this.say(text, matters);
  }
}

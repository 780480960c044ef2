import { Earcons } from "../../core/page/earcons.js";
import { show } from "../../core/page/dom.js";
import { onSettings, settings } from "../../core/page/settings.js";
import { language, text } from "../../core/words/text.js";
import { StripView } from "./view.js";
import { NO_MICROPHONE, talkState } from "./words.js";

/** @typedef {import("../../core/live/messages.d.ts").Listening["state"]} State */

// Levels that the recogniser's events stand for: a second use of the microphone would silence it on phones.
const SOUND = 0.35;
const SPEECH = 0.8;
// After so long (ms) without an answer the words were a command.
const NO_ANSWER = 1500;
/** @type {Record<string, string>} by the recogniser's errors */
const ERRORS = {
  "not-allowed": NO_MICROPHONE.refused,
  "service-not-allowed": "voice.browser_failed",
  "audio-capture": NO_MICROPHONE.missing,
  network: "voice.browser_failed",
  "language-not-supported": "voice.browser_failed",
};

/** The browser's own recogniser, where the server has none. Loaded when needed, not with the page. */
export class BrowserListening {
  #page;
  #button;
  #view = new StripView();
  #earcons = new Earcons({ wanted: () => settings().tones, hears: () => this.#answering });
  #on = false;
  /** @type {any} the one that runs; null: none does */
  #recogniser = null;
  /** @type {State} */
  #state = "off";
  #words = "";
  #answering = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #waiting;

  /** @param {import("../../core/page.js").Page} page @param {HTMLButtonElement} button */
  constructor(page, button) {
    this.#page = page;
    this.#button = button;
    onSettings(({ browserSpeech }) => !browserSpeech && this.off());
  }

  toggle() {
    this.#earcons.prepare();
    if (this.#on) {
      this.off();
      return this.#page.announce(text("voice.off"));
    }
    // It would hear the answer.
    this.#page.voice?.hush();
    this.#page.chat.speech.stop();
    if (this.#page.chat.conversation.running) this.#page.chat.cancel();
    this.#on = true;
    this.#listen();
  }

  /** Let go of the microphone at once. @returns {boolean} true when it was on */
  off() {
    this.#abort();
    if (!this.#on) return false;
    this.#on = false;
    this.#render();
    return true;
  }

  /** @param {boolean} answering an answer is on its way or heard, which it must not hear */
  answers(answering) {
    if (answering === this.#answering) return;
    this.#answering = answering;
    if (answering) this.#abort();
    else if (this.#on) this.#listen();
    this.#render();
  }

  #listen() {
    if (this.#recogniser || this.#answering) return;
    const { SpeechRecognition, webkitSpeechRecognition } = /** @type {any} */ (window);
    const recogniser = (this.#recogniser = new (SpeechRecognition ?? webkitSpeechRecognition)());
    const now = (/** @type {() => void} */ then) => () => {
      if (recogniser !== this.#recogniser) return;
      then();
      this.#render();
    };
    Object.assign(recogniser, {
      lang: navigator.languages.find((tag) => tag.split("-")[0] === language()) ?? language(),
      interimResults: true,
      onaudiostart: now(() => {
        this.#state = "waiting";
        this.#earcons.play("listening");
      }),
      onsoundstart: now(() => this.#view.level(SOUND)),
      onspeechstart: now(() => this.#begin()),
      onspeechend: now(() => this.#view.level(0)),
      onsoundend: now(() => this.#view.level(0)),
      onresult: (/** @type {any} */ event) => now(() => this.#take([...event.results]))(),
      onerror: (/** @type {any} */ event) => now(() => this.#fail(event.error))(),
      // Nobody has spoken.
      onend: now(() => this.#end("voice.off")),
    });
    this.#state = "off";
    this.#words = "";
    try {
      recogniser.start();
    } catch {
      this.#fail("network");
    }
    this.#render();
  }

  #begin() {
    this.#state = "speech";
    this.#view.level(SPEECH);
  }

  /** @param {{isFinal: boolean, 0: {transcript: string}}[]} results */
  #take(results) {
    this.#state = "speech";
    this.#words = results.map((one) => one[0].transcript).join("").trim();
    if (!results.every(({ isFinal }) => isFinal)) return;
    const words = this.#words;
    this.#abort();
    if (!words) return this.#end("voice.unclear");
    this.#earcons.play("heard");
    this.#state = "recognising";
    this.#waiting = setTimeout(() => this.#on && this.#listen(), NO_ANSWER);
    this.#ask(words);
  }

  /** Ask what was said as if it were typed. @param {string} words */
  #ask(words) {
    const { chat } = this.#page;
    const { box } = chat.composer;
    // Somebody types something else.
    if (box.value.trim()) return chat.ask(words);
    box.value = words;
    box.dispatchEvent(new Event("input"));
    box.form?.requestSubmit();
  }

  /** @param {string} error */
  #fail(error) {
    if (ERRORS[error]) this.#page.note(text(ERRORS[error]));
    this.#end(ERRORS[error] ? "voice.off" : "voice.unclear");
  }

  /** @param {string} why id of the words for a screen reader */
  #end(why) {
    if (this.off()) this.#page.announce(text(why));
  }

  #abort() {
    const recogniser = this.#recogniser;
    clearTimeout(this.#waiting);
    this.#recogniser = null;
    this.#state = "off";
    this.#words = "";
    recogniser?.abort();
  }

  #render() {
    this.#button.setAttribute("aria-pressed", String(this.#on));
    const facts = { on: this.#on, state: this.#state, answering: this.#answering, deaf: true };
    const state = talkState({ ...facts, mode: "hands_free" });
    for (const one of [this.#view.hold, this.#view.change]) show(one, false);
    this.#view.show(state, state === "listening" || state === "hearing", this.#words);
  }
}

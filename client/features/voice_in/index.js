import { byId, show } from "../../core/page/dom.js";
import { settings } from "../../core/page/settings.js";
import { languageOfTurn } from "../../core/chat/chatview.js";
import { text } from "../../core/words/text.js";

/** @typedef {import("../../core/page.js").Page} Page */
/** @typedef {import("../../core/live/messages.d.ts").Ready} Ready */

// Milliseconds after hiding the page until the microphone is muted
const HIDDEN_FOR = 4000;

/** Questions that are spoken. @param {Page} page */
export function register(page) {
  const entry = new TalkEntry(page);
  page.take(["transcript", "listening"], (message) => entry.receive(message));
  page.when("facts", (facts) => entry.connected(facts));
  page.launches.set("talk", () => entry.button.click());
  page.chat.correct = (turn, words) => entry.correct(turn, words);
}

/** The button of the microphone, and the way to the part that listens, which loads with the first tap. */
class TalkEntry {
  button = byId("talk", HTMLButtonElement);

  #page;
  /** @type {import("../../core/page/part.js").Part<any>} */
  #part;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #hiding;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#part = page.part(import.meta.url, "./listening.js", {
      load: async () => {
        const { Listening } = await import("./listening.js");
        return new Listening(page.visit, {
          button: this.button,
          note: (text) => page.note(text),
          announce: (text) => page.announce(text),
          tones: () => settings().tones,
          hears: () => Boolean(page.voice?.speaking),
          watch: (condition) => page.find("watches")?.add(condition),
          again: () => this.#again(),
          tell: (text) => page.tell(text),
        });
      },
      missed: "page.missing_microphone",
      sheets: ["./voice.css"],
    });
    // The camera of a hidden page stays on while something is watched for; its microphone does not.
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#part.here?.off(), HIDDEN_FOR);
    });
    this.button.addEventListener("click", async () => {
      const words = (/** @type {string} */ host) => text("voice.talk_hint_to", { host });
      if (!(await this.#page.agree("voice_in", this.button, words))) return;
      await this.#part.open(this.button);
      this.#part.here?.toggle();
    });
  }

  /**
   * Ask a spoken question with the right words.
   * @param {import("../../core/chat/conversation.js").Turn} turn
   * @param {string} words
   */
  correct(turn, words) {
    const { chat, voice } = this.#page;
    const sent = this.#page.send({ type: "correct_transcript", id: turn.id, text: words });
    if (!sent) return this.#page.note(text("chat.no_connection"));
    // The server stops the answer itself; cancelling its id would stop the new one.
    voice?.hush(false);
    chat.conversation.correct(turn, words);
  }

  /** Read the newest answer once more: somebody has asked for it. */
  #again() {
    const { conversation, speech } = this.#page.chat;
    const turn = conversation.turns.findLast(({ response, text }) => response !== null && text !== "");
    if (!turn) return;
    if (!speech.supported) return this.#page.announce(turn.text);
    speech.stop();
    speech.queue(turn.key, turn.text, languageOfTurn(turn));
  }

  /** @param {import("../../core/live/facts.js").Facts} facts */
  connected({ socket, active, camera, ready }) {
    const able = canTalk(ready, camera);
    show(this.button, able);
    const host = ready?.features.voice_in?.elsewhere;
    this.button.title = host ? text("voice.talk_hint_to", { host }) : text("voice.talk_hint");
    // A hidden page must not listen.
    if (!active || camera === "resting" || !able) this.#part.here?.off();
    // The recogniser has moved to a machine that the user has not agreed to.
    if (this.#page.visit.unagreed("voice_in") && this.#part.here?.off()) this.#page.note(this.button.title);
    this.#part.here?.connected(socket === "open");
  }

  /** @param {any} message */
  receive(message) {
    if (message.type === "transcript") this.#part.here?.obey(message);
    else this.#part.here?.receive(message);
  }
}

/**
 * True where questions can be spoken: not to another device's camera, which sends no sound, and where something turns
 * speech into words. @param {Ready|null} ready @param {string} camera
 */
function canTalk(ready, camera) {
  const listens = ready?.features.voice_in;
  if (!listens?.microphone || camera === "elsewhere") return false;
  return listens.recogniser || ready?.capabilities.audio_in === true;
}

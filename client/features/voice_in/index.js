import { byId, show } from "../../core/page/dom.js";
import { change, settings } from "../../core/page/settings.js";
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
  page.when("running", (running) => entry.answers(running !== null));
  page.launches.set("talk", () => entry.button.click());
  page.chat.correct = (turn, words) => entry.correct(turn, words);
}

/** The button of the microphone, and the way to the part that listens, which loads with the first tap. */
class TalkEntry {
  button = byId("talk", HTMLButtonElement);

  #page;
  /** @type {import("../../core/page/part.js").Part<any>} what the server hears */
  #server;
  /** @type {import("../../core/page/part.js").Part<any>} what the browser hears */
  #browser;
  /** @type {"server"|"browser"|""} which of them is offered */
  #by = "";
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #hiding;

  /** @param {Page} page */
  constructor(page) {
    this.#page = page;
    this.#server = page.part(import.meta.url, "./listening.js", {
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
    this.#browser = page.part(import.meta.url, "./browser.js", {
      load: async () => new (await import("./browser.js")).BrowserListening(page, this.button),
      missed: "page.missing_microphone",
      sheets: ["./voice.css"],
    });
    // The camera of a hidden page stays on while something is watched for; its microphone does not.
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#part.here?.off(), HIDDEN_FOR);
    });
    this.button.addEventListener("click", async () => {
      const agreed = await (this.#by === "browser" ? this.#agreeBrowser() : this.#agreeServer());
      if (!agreed) return;
      await this.#part.open(this.button);
      this.#part.here?.toggle();
      this.answers(this.#page.chat.conversation.running !== null);
    });
  }

  get #part() {
    return this.#by === "browser" ? this.#browser : this.#server;
  }

  #agreeServer() {
    const words = (/** @type {string} */ host) => text("voice.talk_hint_to", { host });
    return this.#page.agree("voice_in", this.button, words);
  }

  /** Let the person agree once on this device to who hears what they say. */
  async #agreeBrowser() {
    if (settings().browserSpeech === true) return true;
    const [browser, maker] = makerOf();
    const words = maker ? text("voice.heard_by", { browser, maker }) : text("voice.heard_by_maker");
    const agreed = await this.#page.dialogs.agree(this.button, words, true);
    if (agreed) change({ browserSpeech: true });
    return agreed;
  }

  /** @param {boolean} running an answer is on its way */
  answers(running) {
    const { chat, voice } = this.#page;
    this.#part.here?.answers(running || Boolean(voice?.speaking) || chat.speech.busy);
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
    const by = listener(ready, camera);
    if (by !== this.#by) this.#part.here?.off();
    this.#by = by;
    show(this.button, by !== "");
    const choice = document.getElementById("settings-browser-speech")?.closest("label");
    if (choice) show(choice, by === "browser");
    const host = by === "server" && ready?.features.voice_in?.elsewhere;
    this.button.title = host ? text("voice.talk_hint_to", { host }) : text("voice.talk_hint");
    // A hidden page must not listen.
    if (!active || camera === "resting" || !by) this.#part.here?.off();
    // The recogniser has moved to a machine that the user has not agreed to.
    if (this.#page.visit.unagreed("voice_in") && this.#part.here?.off()) this.#page.note(this.button.title);
    if (by === "server") this.#server.here?.connected(socket === "open");
  }

  /** @param {any} message */
  receive(message) {
    if (message.type === "transcript") this.#server.here?.obey(message);
    else this.#server.here?.receive(message);
  }
}

/**
 * Who turns speech into words: the server, which gets no sound with another device's camera, else the browser; "" for
 * nobody. @param {Ready|null} ready @param {string} camera @returns {"server"|"browser"|""}
 */
function listener(ready, camera) {
  const listens = ready?.features.voice_in;
  if (!listens?.microphone) return "";
  const able = listens.recogniser || ready?.capabilities.audio_in === true;
  if (able && camera !== "elsewhere") return "server";
  return "SpeechRecognition" in window || "webkitSpeechRecognition" in window ? "browser" : "";
}

// Browsers that are known to send speech to their makers, by their brands
/** @type {[string, string][]} */
const MAKERS = [
  ["Google Chrome", "Google"],
  ["Microsoft Edge", "Microsoft"],
];

/** @returns {[string, string]} the browser and its maker; "" where they are not certain */
function makerOf() {
  const { userAgentData, vendor } = /** @type {any} */ (navigator);
  if (vendor.startsWith("Apple")) return ["Safari", "Apple"];
  const brands = (userAgentData?.brands ?? []).map((/** @type {any} */ one) => one.brand);
  return MAKERS.find(([name]) => brands.includes(name)) ?? ["", ""];
}

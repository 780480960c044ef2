import { byId, show } from "../page/dom.js";
import { Part } from "../page/part.js";
import { text } from "../words/text.js";

/** @typedef {import("../live/messages.js").ServerMessage} ServerMessage */
/** @typedef {import("../live/messages.js").Ready} Ready */

/**
 * The part that listens, as far as this module knows it.
 * @typedef {Object} Listener
 * @property {() => void} toggle
 * @property {() => void} off
 * @property {(open: boolean) => void} connected
 * @property {(message: import("../live/voicemessages.js").Listening) => void} receive
 * @property {(heard: import("../live/voicemessages.js").Transcript) => void} obey
 */

// Milliseconds for which a page is hidden before nobody is heard any more
const HIDDEN_FOR = 4000;

/** The button of the microphone, and the way to the part that listens, which loads with the first tap. */
export class TalkEntry {
  button = byId("talk", HTMLButtonElement);

  /** @type {Part<Listener>} */
  #part;
  #why = "";
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #hiding;

  /**
   * @param {{address: URL, load: () => Promise<Listener>, onMissing: (again: () => void) => void}} part see `Part`
   * @param {Object} page
   * @param {(text: string) => void} page.note among the answers
   * @param {(text: string) => void} page.announce to a screen reader
   * @param {() => boolean} page.tones the user wants tones for what cannot be seen
   * @param {() => boolean} page.hears an answer is heard
   * @param {(condition: string) => void} page.watch begin a watch
   * @param {() => void} page.again read the last answer once more
   * @param {(text: string) => void} page.tell speak it, or have a screen reader do so
   */
  constructor(part, { note, ...page }) {
    this.#part = new Part(part);
    // For the part
    this.hooks = { button: this.button, note, ...page };
    // The camera of a hidden page stays on while something is watched for; its microphone does not.
    document.addEventListener("visibilitychange", () => {
      clearTimeout(this.#hiding);
      if (document.hidden) this.#hiding = setTimeout(() => this.#part.here?.off(), HIDDEN_FOR);
    });
    this.button.addEventListener("click", async () => {
      if (this.#why) return note(this.#why);
      await this.#part.open(this.button);
      this.#part.here?.toggle();
    });
  }

  /** @param {import("../live/facts.js").Facts} facts */
  connected({ socket, active, camera, ready }) {
    this.#why = whyNot(ready, camera);
    // A server of an earlier version knows nothing of microphones.
    show(this.button, ready?.microphone !== undefined);
    this.button.setAttribute("aria-disabled", String(this.#why !== ""));
    const host = ready?.sound_elsewhere;
    this.button.title = host ? text("voice.talk_hint_to", { host }) : text("voice.talk_hint");
    // A page that nobody looks at hears nothing.
    if (!active || camera === "resting" || this.#why) this.#part.here?.off();
    this.#part.here?.connected(socket === "open");
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about the microphone */
  receive(message) {
    if (message.type === "transcript") this.#part.here?.obey(message);
    if (message.type !== "listening") return false;
    this.#part.here?.receive(message);
    return true;
  }
}

/** Say why questions cannot be spoken; "" when they can. @param {Ready|null} ready @param {string} camera */
function whyNot(ready, camera) {
  if (!ready) return "";
  if (camera === "elsewhere") return text("voice.no_sound");
  if (!ready.microphone) return text("voice.switched_off");
  if (ready.recogniser || ready.capabilities.audio_in) return "";
  return text("voice.not_here");
}

/** @typedef {import("../../core/live/messages.d.ts").ServerMessage} ServerMessage */
/** @typedef {import("../../core/live/messages.d.ts").Say} Say */

// Milliseconds between two reports of how far an answer was read
const REPORT_EVERY = 1000;

/**
 * Answers that are spoken: by the server over the connection, or piece by piece by the browser's own voice. Touches no
 * part of the page but its sound.
 */
export class Speaking {
  /** id of the question whose answer is spoken; "" without one */
  id = "";

  #hooks;
  #sound = new Audio();
  #connected = false;
  #reportedAt = 0;

  /**
   * @param {Object} hooks
   * @param {(message: import("../../core/live/messages.d.ts").ClientMessage) => boolean} hooks.send
   * @param {import("../../core/chat/speech.js").Speech} hooks.speech the browser's own voice
   * @param {(id: string) => string} hooks.language BCP 47 tag of an answer; "" where it is unknown
   * @param {(id: string, start: number, end: number) => void} hooks.mark the part of an answer that is heard; 0, 0:
   *   none
   * @param {() => void} hooks.onChange it began or ended
   */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#sound.autoplay = true;
  }

  /** Play what the server speaks on a new connection. @param {MediaStreamTrack|null} track */
  play(track) {
    this.#sound.srcObject = track && new MediaStream([track]);
    if (track) void this.#sound.play().catch(() => {}); // the next tap tries again
  }

  /** @param {boolean} open the socket is */
  connected(open) {
    if (open && !this.#connected) this.#hooks.send({ type: "settings", speak: true });
    if (!open) this.#ended();
    this.#connected = open;
  }

  /** Stop speaking. */
  off() {
    this.#hooks.send({ type: "settings", speak: false });
    this.#connected = false;
    this.#ended();
    this.#sound.srcObject = null;
  }

  /**
   * Be silent at once: the user did something.
   * @param {boolean} [tell] the server does not know of it yet @returns {boolean} true when something was spoken
   */
  hush(tell = true) {
    if (!this.id) return false;
    if (tell) this.#hooks.send({ type: "cancel", id: this.id });
    this.#ended();
    return true;
  }

  /** @param {ServerMessage} message @returns {boolean} true when it was about speech */
  receive(message) {
    if (message.type === "say") this.#read(message);
    else if (message.type === "speaking") this.#state(message);
    return message.type === "say" || message.type === "speaking";
  }

  /** @param {import("../../core/live/messages.d.ts").SpeakingState} message */
  #state({ id, state, start, end }) {
    const { speech } = this.#hooks;
    if (state === "stopped" || state === "done") {
      if (id === this.id) this.#ended();
      return;
    }
    this.#begin(id);
    // Sound on its way, or in the browser's buffer, is not heard: the server's pause takes effect with the next packet.
    this.#sound.muted = state === "paused";
    if (state === "speaking") speech.resume();
    // The browser's own voice cannot be lowered, only paused.
    else speech.pause();
    if (end > 0) this.#hooks.mark(id, start, end);
  }

  /** @param {Say} piece */
  #read({ id, text, start, end }) {
    this.#begin(id);
    const { speech, send, mark, language } = this.#hooks;
    const report = (/** @type {number} */ at) => {
      this.#reportedAt = performance.now();
      send({ type: "speech_progress", id, end: at });
    };
    if (!speech.supported) return report(end);
    speech.queue(id, text, language(id), {
      onBegin: () => mark(id, start, end),
      onAt: (/** @type {number} */ share) => {
        if (performance.now() - this.#reportedAt > REPORT_EVERY) report(start + Math.floor(share * (end - start)));
      },
      onEnd: () => report(end),
    });
  }

  /** @param {string} id */
  #begin(id) {
    if (this.id === id) return;
    this.#ended();
    this.id = id;
    this.#sound.muted = false;
    if (this.#sound.srcObject && this.#sound.paused) void this.#sound.play().catch(() => {});
    this.#hooks.onChange();
  }

  #ended() {
    if (!this.id) return;
    this.#sound.muted = true;
    this.#hooks.speech.stop(this.id);
    this.#hooks.mark(this.id, 0, 0);
    this.id = "";
    this.#hooks.onChange();
  }
}

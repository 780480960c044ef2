// How often the connection is looked at, and how often while nothing comes.
const LOOK_EVERY = 400;
const LOOK_WHILE_QUIET = 150;
// Less than the server's reports on what it gets are apart (1.5 s at most): silence is a reason to ask, and no more.
const QUIET_AFTER = 800;

/** Hears whether anything comes back from the server on the camera's connection, whatever that is called meanwhile. */
export class Pulse {
  /** Nothing came for a while. */
  quiet = false;

  #onQuiet;
  #onBack;
  /** @type {RTCRtpSender|null} */
  #sender = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #bytes = 0;
  #heardAt = 0;

  /** @param {{onQuiet: () => void, onBack: () => void}} hooks onBack: it comes again */
  constructor({ onQuiet, onBack }) {
    this.#onQuiet = onQuiet;
    this.#onBack = onBack;
  }

  /** @param {RTCRtpSender|null} sender null: there is no connection to listen to */
  attach(sender) {
    clearTimeout(this.#timer);
    this.#sender = sender;
    this.quiet = false;
    this.#bytes = 0;
    this.#heardAt = performance.now();
    if (sender) this.#timer = setTimeout(() => void this.#look(sender), LOOK_EVERY);
  }

  /** @param {RTCRtpSender} sender */
  async #look(sender) {
    const bytes = await received(sender);
    if (sender !== this.#sender) return;
    const now = performance.now();
    if (bytes !== null && bytes > this.#bytes) {
      // More than what came in the moment before the cut, which is known only with the next look.
      this.#bytes = bytes;
      this.#heardAt = now;
      if (this.quiet) {
        this.quiet = false;
        this.#onBack();
      }
    } else if (bytes !== null && !this.quiet && now - this.#heardAt >= QUIET_AFTER) {
      this.quiet = true;
      this.#onQuiet();
    }
    if (sender !== this.#sender) return;
    this.#timer = setTimeout(() => void this.#look(sender), this.quiet ? LOOK_WHILE_QUIET : LOOK_EVERY);
  }
}

/** @param {RTCRtpSender} sender @returns {Promise<number|null>} bytes that came to its connection; null where it is not told */
async function received(sender) {
  let bytes = null;
  for (const report of (await sender.getStats()).values()) {
    if (report.type === "candidate-pair" && typeof report.bytesReceived === "number") bytes = (bytes ?? 0) + report.bytesReceived;
  }
  return bytes;
}

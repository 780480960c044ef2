// Milliseconds between two readings of the statistics, and while nothing arrives.
const LOOK_EVERY = 400;
const LOOK_WHILE_QUIET = 150;
// Shorter than the interval of the server's receiver reports (at most 1.5 s), so silence is only a reason to check.
const QUIET_AFTER = 800;

/** Watches for packets from the server on the camera's connection, in any connection state. */
export class Pulse {
  /** True after a while without packets. */
  quiet = false;

  #onQuiet;
  #onBack;
  /** @type {RTCRtpSender|null} */
  #sender = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #bytes = 0;
  #heardAt = 0;

  /** @param {{onQuiet: () => void, onBack: () => void}} hooks onBack: packets arrive again */
  constructor({ onQuiet, onBack }) {
    this.#onQuiet = onQuiet;
    this.#onBack = onBack;
  }

  /** @param {RTCRtpSender|null} sender null without a connection */
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
      // The reading right after a cut may still contain packets from before it.
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

/** @param {RTCRtpSender} sender @returns {Promise<number|null>} bytes received on its connection; null when unknown */
async function received(sender) {
  let bytes = null;
  for (const report of (await sender.getStats()).values()) {
    if (report.type === "candidate-pair" && typeof report.bytesReceived === "number") bytes = (bytes ?? 0) + report.bytesReceived;
  }
  return bytes;
}

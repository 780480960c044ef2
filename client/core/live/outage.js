/** @typedef {import("./facts.js").Facts} Facts */

// Time (ms) within which a working socket answers, also on a slow path.
const ANSWERS_SOON = 500;
// Time (ms) after the chat is back when the cut ends; a missing picture has its own message.
const SETTLES = 3000;
// Least interruption (ms): browsers report it seconds late, when the cut may be over.
const INTERRUPTED_FOR = 1000;
// Milliseconds between two readings of the statistics, and while nothing arrives.
const LOOK_EVERY = 400;
const LOOK_WHILE_QUIET = 150;
// The server's receiver reports may be 1.5 s apart, so silence is only a reason to check.
const QUIET_AFTER = 800;
// A restarting server is back within this time (ms); otherwise it was stopped.
const RESTARTS_WITHIN = 30_000;

/**
 * Detects cuts of the link to the server early, and reports them until the link is fully back, so that nothing
 * flickers.
 */
export class Outage {
  pulse;
  connectedOnce = false;

  #facts;
  #socket;
  #onChange;
  /** @type {ReturnType<typeof setTimeout>|undefined} the end of a cut */
  #timer;
  /** @type {ReturnType<typeof setTimeout>|undefined} the beginning of one */
  #interrupted;
  #connectedAt = Infinity;

  /** @param {{facts: () => Facts, socket: import("./socket.js").ChatSocket, onChange: (cut: boolean) => void}} parts */
  constructor({ facts, socket, onChange }) {
    this.#facts = facts;
    this.#socket = socket;
    this.#onChange = onChange;
    this.pulse = new Pulse({ onQuiet: () => socket.ask(ANSWERS_SOON), onBack: () => socket.renew() });
  }

  /** Milliseconds since the camera's connection was established; negative without one. */
  get connectedFor() {
    return performance.now() - this.#connectedAt;
  }

  /** @param {import("./peer.js").PeerState} link */
  linkChanged(link) {
    const lost = link === "interrupted" || (link === "waiting" && this.connectedOnce);
    clearTimeout(this.#interrupted);
    this.#connectedAt = link === "connected" ? performance.now() : Infinity;
    if (link === "connected") {
      // TCP would retry lost packets in longer and longer steps; a new socket is faster.
      if (this.connectedOnce) this.#socket.renew();
      this.connectedOnce = true;
    } else if (lost) {
      this.#socket.probe();
      if (link === "interrupted" && !this.pulse.quiet)
        this.#interrupted = setTimeout(() => this.begin(), INTERRUPTED_FOR);
      else this.begin();
    }
  }

  /** The server has not acknowledged a question in time. */
  unheard() {
    this.#socket.ask(ANSWERS_SOON);
  }

  /** Check the connections, which may be dead without notice. */
  doubt() {
    this.#socket.probe(ANSWERS_SOON);
  }

  /** The socket did not answer in time. */
  silent() {
    if (this.pulse.quiet) this.begin();
  }

  begin() {
    clearTimeout(this.#timer);
    clearTimeout(this.#interrupted);
    if (this.#facts().active && !this.#facts().cut) this.#onChange(true);
  }

  /** The socket answered again. */
  trusted() {
    clearTimeout(this.#timer);
    if (this.#facts().cut) this.#timer = setTimeout(() => this.end(), SETTLES);
  }

  /** Process the server's status of the camera. @param {import("./messages.d.ts").Status} status */
  cameraStatus(status) {
    if (this.#socket.doubted || this.pulse.quiet) return;
    if (status.camera === "live" || status.held) this.end();
  }

  end() {
    clearTimeout(this.#timer);
    if (this.#facts().cut) this.#onChange(false);
  }
}

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
    const bytes = await bytesReceived(sender);
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
async function bytesReceived(sender) {
  let bytes = null;
  for (const report of (await sender.getStats()).values()) {
    if (report.type === "candidate-pair" && typeof report.bytesReceived === "number")
      bytes = (bytes ?? 0) + report.bytesReceived;
  }
  return bytes;
}

/** Keeps the reason of the socket's last close for display. Uses neither DOM nor connection. */
export class Closing {
  // Time at which the server announced its stop
  #stoppedAt = -Infinity;

  /**
   * @param {Facts} before @param {import("./socket.js").SocketState} socket @param {number} closeCode
   * @param {import("./api.js").ApiError|null} socketError
   * @returns {Partial<Facts>} the changes
   */
  changed(before, socket, closeCode, socketError) {
    const now = performance.now();
    if (closeCode === 1013) this.#stoppedAt = now;
    // A restarting server is expected to be unreachable for a while.
    const stopped = before.closeCode === 1013 && closeCode === 1006;
    const gone = stopped && now - this.#stoppedAt > RESTARTS_WITHIN;
    // The reason stays visible until the socket works again.
    if (socket === "connecting" || (stopped && !gone)) return { socket };
    return { socket, closeCode, socketError, gone: gone || (before.gone && socket === "waiting") };
  }
}

import { Pulse } from "./pulse.js";

/** @typedef {import("./facts.js").Facts} Facts */

// Time (ms) within which a working socket answers, also on a slow path.
const ANSWERS_SOON = 500;
// Time (ms) after the chat is back when the cut ends; a missing picture then has its own message.
const SETTLES = 3000;
// A connection has to be interrupted for this long (ms): browsers report it seconds late, when the cut may be over.
const INTERRUPTED_FOR = 1000;

/** Detects cuts of the link to the server early, and reports them until the link is fully back, so that nothing flickers. */
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
      if (link === "interrupted" && !this.pulse.quiet) this.#interrupted = setTimeout(() => this.begin(), INTERRUPTED_FOR);
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

  /** Process the server's status of the camera. @param {import("./messages.js").Status} status */
  cameraStatus(status) {
    if (this.#socket.doubted || this.pulse.quiet) return;
    if (status.camera === "live" || status.held) this.end();
  }

  end() {
    clearTimeout(this.#timer);
    if (this.#facts().cut) this.#onChange(false);
  }
}

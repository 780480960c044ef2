import { Pulse } from "./pulse.js";

/** @typedef {import("./facts.js").Facts} Facts */

// A socket that answers has done so by then, also on a slow path.
const ANSWERS_SOON = 500;
// What is not back so long after the chat has a name of its own: the picture is stalled, or gets no way through.
const SETTLES = 3000;
// Browsers call a connection interrupted some seconds after a cut, which may be over by then.
const INTERRUPTED_FOR = 1000;

/** Whether the link to the server is cut: said soon, and until all of it is back, so that nothing flickers meanwhile. */
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

  /** Milliseconds since the camera's connection came about; negative while it does not stand. */
  get connectedFor() {
    return performance.now() - this.#connectedAt;
  }

  /** @param {import("./peer.js").PeerState} link */
  linkChanged(link) {
    const lost = link === "interrupted" || (link === "waiting" && this.connectedOnce);
    clearTimeout(this.#interrupted);
    this.#connectedAt = link === "connected" ? performance.now() : Infinity;
    if (link === "connected") {
      // A socket whose packets were lost in between would be tried again in longer and longer steps.
      if (this.connectedOnce) this.#socket.renew();
      this.connectedOnce = true;
    } else if (lost) {
      this.#socket.probe();
      if (link === "interrupted" && !this.pulse.quiet) this.#interrupted = setTimeout(() => this.begin(), INTERRUPTED_FOR);
      else this.begin();
    }
  }

  /** A question that was sent is not heard of. */
  unheard() {
    this.#socket.ask(ANSWERS_SOON);
  }

  /** What stood may be gone without a word. */
  doubt() {
    this.#socket.probe(ANSWERS_SOON);
  }

  /** The socket was asked and did not answer. */
  silent() {
    if (this.pulse.quiet) this.begin();
  }

  begin() {
    clearTimeout(this.#timer);
    clearTimeout(this.#interrupted);
    if (this.#facts().active && !this.#facts().cut) this.#onChange(true);
  }

  /** The chat is back. */
  trusted() {
    clearTimeout(this.#timer);
    if (this.#facts().cut) this.#timer = setTimeout(() => this.end(), SETTLES);
  }

  /** What the server says of the camera now. @param {import("./messages.js").Status} status */
  told(status) {
    if (this.#socket.doubted || this.pulse.quiet) return;
    if (status.camera === "live" || status.held) this.end();
  }

  end() {
    clearTimeout(this.#timer);
    if (this.#facts().cut) this.#onChange(false);
  }
}

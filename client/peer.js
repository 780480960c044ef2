import { ApiError, request } from "./api.js";
import { Backoff } from "./backoff.js";

/** @typedef {import("./messages.js").Sender} SenderPlan */
/** @typedef {"closed"|"connecting"|"connected"|"interrupted"|"waiting"|"ended"} PeerState
 *  interrupted: may heal by itself; waiting: will offer again; ended: will not by itself */

const CONNECT_WITHIN = 15_000;
// An interruption that lasts longer is answered with a new offer.
const HEAL_WITHIN = 5000;
// The server takes 64 candidates an offer.
const MAX_CANDIDATES = 60;
// Candidates found within this time go in one request.
const TRICKLE_EVERY = 40;

/** The camera's way to the server over WebRTC, which offers anew when it breaks. Knows no page and no camera. */
export class Peer {
  /** @type {PeerState} */
  state = "closed";

  #session;
  #onState;
  #onSender;
  #backoff = new Backoff();
  /** @type {MediaStreamTrack|null} */
  #track = null;
  /** @type {RTCPeerConnection|null} */
  #pc = null;
  /** @type {RTCRtpSender|null} */
  #sender = null;
  // Grows with every offer and close, so that an await can tell that its offer is over.
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} connecting, healing, or the next try: one at a time */
  #timer;
  /** @type {RTCIceCandidateInit[]} found, not yet sent */
  #candidates = [];
  #candidatesSent = 0;
  // The server knows the offer: candidates may be sent
  #offered = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #trickler;
  // A DELETE under way: an offer waits for it, or it would end that offer's camera.
  #ending = Promise.resolve();

  /**
   * @param {{session: import("./session.js").Session, onState: (state: PeerState, error: ApiError|null) => void,
   *   onSender: (sender: RTCRtpSender|null, plan: SenderPlan|null) => void}} parts
   *   onSender: a new RTCRtpSender and what the server said about it; null when it is gone
   */
  constructor({ session, onState, onSender }) {
    this.#session = session;
    this.#onState = onState;
    this.#onSender = onSender;
  }

  get sender() {
    return this.#sender;
  }

  /** Send this track from now on. @param {MediaStreamTrack} track */
  async start(track) {
    this.#track = track;
    if (this.#sender && this.state !== "waiting" && this.state !== "ended") {
      await this.#sender.replaceTrack(track);
      return;
    }
    await this.#offer();
  }

  /** Offer at once, if it is not up. */
  retry() {
    if (this.state === "waiting" || this.state === "ended" || this.state === "interrupted") void this.#offer();
  }

  /** The session is another one: what stands belongs to the old one. */
  reoffer() {
    if (this.#track) void this.#offer();
  }

  /**
   * @param {{leaving?: boolean}} [how] leaving: the page goes away and waits for nothing
   */
  stop({ leaving = false } = {}) {
    const known = this.#offered;
    this.#drop();
    this.#track = null;
    this.#backoff.reset();
    if (known && this.#session.token) {
      // The server also notices by itself, only later; so a failure here needs no answer.
      this.#ending = request("DELETE", this.#path(), {
        token: this.#session.token,
        keepalive: leaving,
        timeout: 3000,
      }).catch(() => {});
    }
    this.#set("closed");
  }

  #path() {
    return `/api/webrtc/offer?session=${encodeURIComponent(this.#session.id ?? "")}`;
  }

  async #offer() {
    this.#drop();
    const attempt = this.#attempt;
    const over = () => attempt !== this.#attempt;
    this.#set("connecting");
    this.#timer = setTimeout(() => this.#fail(new ApiError("No connection within 15 seconds.")), CONNECT_WITHIN);
    try {
      await this.#ending;
      await this.#session.ensure();
      if (over() || !this.#track) return;
      const pc = new RTCPeerConnection({ iceServers: this.#session.iceServers, bundlePolicy: "max-bundle" });
      this.#pc = pc;
      pc.onconnectionstatechange = () => this.#changed(pc);
      pc.onicecandidate = (event) => this.#found(pc, event.candidate);
      const transceiver = pc.addTransceiver(this.#track, { direction: "sendonly" });
      this.#sender = transceiver.sender;
      await pc.setLocalDescription(await pc.createOffer());
      if (over()) return;
      const answer = await request("POST", this.#path(), {
        token: this.#session.token,
        body: { type: "offer", sdp: pc.localDescription?.sdp },
      });
      if (over()) return;
      this.#session.adopt(answer);
      if (over()) return; // adopting another session offers anew
      this.#offered = true;
      this.#trickle();
      await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      if (over()) return;
      this.#onSender(transceiver.sender, answer.sender ?? null);
    } catch (error) {
      if (over()) return;
      this.#fail(error instanceof ApiError ? error : new ApiError(String(error)));
    }
  }

  /** The one way in which an offer ends badly. @param {ApiError} error */
  #fail(error) {
    this.#drop();
    if (error.status === 401) this.#session.distrust();
    if (error.status === 404) this.#session.forget();
    const again = error.retryable || ((error.status === 401 || error.status === 404) && error.code !== "cancelled");
    if (!again) return this.#set("ended", error);
    this.#timer = setTimeout(() => void this.#offer(), this.#backoff.next(error.retryAfter * 1000));
    this.#set("waiting", error);
  }

  /** @param {RTCPeerConnection} pc */
  #changed(pc) {
    if (pc !== this.#pc) return;
    switch (pc.connectionState) {
      case "connected":
        clearTimeout(this.#timer);
        this.#backoff.reset();
        this.#set("connected");
        break;
      case "disconnected":
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => this.#fail(new ApiError("The connection was interrupted.")), HEAL_WITHIN);
        this.#set("interrupted");
        break;
      case "failed":
      case "closed":
        this.#fail(new ApiError("The connection failed."));
        break;
      default:
    }
  }

  /** @param {RTCPeerConnection} pc @param {RTCIceCandidate|null} candidate */
  #found(pc, candidate) {
    // Null, and in some browsers an empty string, mark the end.
    if (pc !== this.#pc || !candidate?.candidate) return;
    this.#candidates.push(candidate.toJSON());
    if (this.#offered && this.#trickler === undefined) {
      this.#trickler = setTimeout(() => this.#trickle(), TRICKLE_EVERY);
    }
  }

  #trickle() {
    clearTimeout(this.#trickler);
    this.#trickler = undefined;
    const candidates = this.#candidates.splice(0).slice(0, MAX_CANDIDATES - this.#candidatesSent);
    if (candidates.length === 0) return;
    this.#candidatesSent += candidates.length;
    // Lost candidates are no failure: others may connect, and the limit for connecting watches over it.
    request("PATCH", this.#path(), { token: this.#session.token, body: { candidates } }).catch(() => {});
  }

  #drop() {
    this.#attempt++;
    clearTimeout(this.#timer);
    clearTimeout(this.#trickler);
    this.#trickler = undefined;
    this.#candidates = [];
    this.#candidatesSent = 0;
    this.#offered = false;
    const pc = this.#pc;
    this.#pc = null;
    if (this.#sender) this.#onSender(null, null);
    this.#sender = null;
    pc?.close();
  }

  /** @param {PeerState} state @param {ApiError|null} [error] */
  #set(state, error = null) {
    this.state = state;
    this.#onState(state, error);
  }
}

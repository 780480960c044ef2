import { ApiError, Backoff, numbered, request } from "./api.js";
import { text } from "../words/text.js";

/** @typedef {Omit<import("./messages.d.ts").Sender, "type">} SenderPlan */
/** @typedef {"closed"|"connecting"|"connected"|"interrupted"|"waiting"|"ended"} PeerState
 *  interrupted: may recover by itself; waiting: will offer again; ended: will not offer again by itself */

const CONNECT_WITHIN = 15_000;
// After an interruption this long (ms) a new offer is made.
const HEAL_WITHIN = 5000;
const ANSWER_WITHIN = 10_000;
// Time limit (ms) of an offer during an outage: a new one gets through sooner than lost packets.
const ANSWER_WITHIN_OUTAGE = 5000;
// The server accepts 64 candidates per offer.
const MAX_CANDIDATES = 60;
// Candidates found within this time go in one request.
const TRICKLE_EVERY = 40;

/** The camera's WebRTC connection to the server, which reconnects by new offers. Uses neither DOM nor camera. */
export class Peer {
  /** @type {PeerState} */
  state = "closed";

  #session;
  #onState;
  #onSender;
  #onVoice;
  #backoff = new Backoff();
  /** @type {MediaStreamTrack|null} null while stopped */
  #track = null;
  /** @type {MediaStreamTrack|null} null while the microphone is off */
  #microphone = null;
  /** @type {RTCRtpTransceiver|null} the audio section; null without a connection */
  #sound = null;
  /** @type {RTCPeerConnection|null} */
  #pc = null;
  /** @type {RTCRtpSender|null} */
  #sender = null;
  // An interrupted connection, kept until a new offer is answered, because it recovers at once with the link.
  /** @type {RTCPeerConnection|null} */
  #old = null;
  // Grows with every offer and close: code after an await, and the server, notice an outdated one.
  #attempt = 0;
  /** @type {ReturnType<typeof setTimeout>|undefined} connecting, healing, or the next try: one at a time */
  #timer;
  // A relay's error with the newest connection; null without one
  /** @type {{url: string, code: number}|null} */
  #relayTrouble = null;
  // The last offer's connection error; kept during the next offer, null once connected
  /** @type {ApiError|null} */
  #lastNoWay = null;
  // performance.now() before which the server accepts no new request
  #notBefore = 0;
  // True when the last request did not reach the server
  #outage = false;
  /** @type {RTCIceCandidateInit[]} found, not yet sent */
  #candidates = [];
  #candidatesSent = 0;
  // True after the answer to the newest offer: candidates may be sent
  #answered = false;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #trickler;
  // True when the server may have an offer whose end it does not know.
  #offered = false;

  /**
   * @param {{session: import("./session.js").Session, onState: (state: PeerState, error: ApiError|null) => void,
   *   onSender: (sender: RTCRtpSender|null, plan: SenderPlan|null) => void,
   *   onVoice?: (voice: MediaStreamTrack) => void}} parts
   *   onSender: a new RTCRtpSender with the server's limits for it; null when it is gone
   *   onVoice: the track of a new connection on which the server speaks
   */
  constructor({ session, onState, onSender, onVoice = () => {} }) {
    this.#session = session;
    this.#onState = onState;
    this.#onSender = onSender;
    this.#onVoice = onVoice;
  }

  /** Send this track from now on. @param {MediaStreamTrack} track */
  async start(track) {
    this.#track = track;
    if (this.#sender && this.#pc && this.#answered) await this.#sender.replaceTrack(track);
    else await this.#offer();
  }

  /** Send this microphone's sound from now on, without a new offer; null: none. @param {MediaStreamTrack|null} track */
  async setMicrophone(track) {
    this.#microphone = track;
    await this.#sound?.sender.replaceTrack(track);
  }

  /** Offer at once if it is down, because the user asked for it. */
  retry() {
    if (this.#track && ["waiting", "ended", "interrupted"].includes(this.state)) void this.#offer(true);
  }

  /** Offer at once instead of waiting longer, because the network works again. */
  hurry() {
    if (this.state === "waiting" && performance.now() >= this.#notBefore) this.retry();
  }

  /** Use the session's new relay credentials for the next ICE restart or network. */
  renewRelays() {
    for (const pc of [this.#pc, this.#old]) {
      if (pc && pc.signalingState !== "closed") pc.setConfiguration(this.#configuration());
    }
  }

  /** Offer at once even if it seems connected, because its network path may be gone. */
  renew() {
    if (this.#track && this.state !== "connecting") void this.#offer(true);
  }

  /** Send a new offer for a new session. */
  reoffer() {
    if (this.#track) void this.#offer();
  }

  /** @returns {Promise<RTCStatsReport|null>} of the current connection; null without one */
  async report() {
    return this.state === "connected" && this.#pc ? this.#pc.getStats() : null;
  }

  /**
   * @param {{leaving?: boolean, taken?: boolean}} [how] leaving: the page is closed and does not wait;
   *   taken: another camera replaces this one, and must not be ended
   */
  stop({ leaving = false, taken = false } = {}) {
    const offered = this.#offered && this.#session.token !== null;
    this.#dropAll();
    this.#track = null;
    this.#lastNoWay = null;
    this.#backoff.reset();
    this.#offered = false;
    // Otherwise an abandoned offer that arrives late would replace the other camera.
    if (offered && taken) this.#sendCandidates([]);
    else if (offered) {
      // A failure is ignored: the server notices the end by itself, later.
      request("DELETE", this.#path(), { token: this.#session.token, keepalive: leaving, timeout: 3000 }).catch(
        () => {},
      );
    }
    if (this.state !== "closed") this.#set("closed");
  }

  /** @returns {RTCConfiguration} */
  #configuration() {
    return { iceServers: this.#session.iceServers, bundlePolicy: "max-bundle" };
  }

  #path() {
    return numbered(`/api/webrtc/offer?session=${encodeURIComponent(this.#session.id ?? "")}`, this.#attempt);
  }

  /** @param {boolean} [keep] keep the interrupted connection, which may still recover */
  async #offer(keep = false) {
    if (keep) this.#setAside();
    else this.#dropAll();
    const attempt = this.#attempt;
    const over = () => attempt !== this.#attempt;
    this.#set("connecting", this.#lastNoWay);
    this.#timer = setTimeout(() => this.#noWay(text("live.no_connection")), CONNECT_WITHIN);
    try {
      await this.#session.ensure();
      if (over() || !this.#track) return;
      const pc = new RTCPeerConnection(this.#configuration());
      this.#pc = pc;
      pc.onconnectionstatechange = () => this.#changed(pc);
      pc.onicecandidate = (event) => this.#found(pc, event.candidate);
      pc.onicecandidateerror = (event) => this.#relayFailed(pc, event);
      const { sender } = pc.addTransceiver(this.#track, { direction: "sendonly" });
      // From the start, so that the microphone needs no second offer.
      const sound = pc.addTransceiver(this.#microphone ?? "audio", { direction: "sendrecv" });
      // Speech is played as soon as it arrives; where this is unknown, a little later.
      sound.receiver.jitterBufferTarget = 0;
      await pc.setLocalDescription(await pc.createOffer());
      if (over()) return;
      this.#offered = true;
      const answer = await request("POST", this.#path(), {
        token: this.#session.token,
        body: { type: "offer", sdp: pc.localDescription?.sdp },
        timeout: this.#outage ? ANSWER_WITHIN_OUTAGE : ANSWER_WITHIN,
      });
      if (over()) return;
      this.#answered = true;
      this.#outage = false;
      this.#closeOld(); // the server has ended it, too
      this.#session.adopt(answer);
      if (over()) return; // adopting another session sends a new offer
      this.#trickle();
      await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      if (over()) return;
      this.#sender = sender;
      this.#sound = sound;
      // Switched in the meantime
      if (sound.sender.track !== this.#microphone) void sound.sender.replaceTrack(this.#microphone);
      this.#onVoice(sound.receiver.track);
      this.#onSender(sender, answer.sender ?? null);
    } catch (error) {
      if (over()) return;
      this.#fail(error instanceof ApiError ? error : new ApiError(String(error)));
    }
  }

  /** @param {RTCPeerConnection} pc @param {RTCPeerConnectionIceErrorEvent} event */
  #relayFailed(pc, event) {
    if (pc !== this.#pc || !event.url?.startsWith("turn")) return;
    // A relay's own error code means more than 701, which means unreachable.
    if (this.#relayTrouble === null || this.#relayTrouble.code >= 700) {
      this.#relayTrouble = { url: event.url.replace(/\?.*/, ""), code: event.errorCode };
    }
  }

  /** Report that no packet gets through. @param {string} what */
  #noWay(what) {
    const trouble = this.#relayTrouble;
    if (trouble === null) return this.#fail((this.#lastNoWay = new ApiError(what)));
    const relay = { relay: trouble.url, code: String(trouble.code) };
    let why = text("live.relay_refuses", relay);
    if (trouble.code === 401) {
      why = text("live.relay_credentials", relay);
      this.#session.distrust(); // or they are too old
    } else if (trouble.code >= 700) why = text("live.relay_unreachable", relay);
    this.#fail((this.#lastNoWay = new ApiError(`${what} ${why}`)));
  }

  /** End an offer with an error. @param {ApiError} error */
  #fail(error) {
    this.#outage = error.status === 0;
    // The server keeps the last connection when it cannot answer an offer.
    if ((this.#outage || error.retryable) && this.#old) this.#drop();
    else this.#dropAll();
    if (error.status === 401) this.#session.distrust();
    if (error.status === 404) this.#session.forget();
    const again = error.retryable || ((error.status === 401 || error.status === 404) && error.code !== "cancelled");
    if (!again) return this.#set("ended", error);
    const asked = error.retryAfter * 1000;
    this.#notBefore = performance.now() + asked;
    this.#timer = setTimeout(() => void this.#offer(true), this.#backoff.next(asked));
    this.#set("waiting", error);
    if (this.#old?.connectionState === "connected") this.#healed(this.#old);
  }

  /** @param {RTCPeerConnection} pc */
  #changed(pc) {
    if (pc === this.#old) return this.#healed(pc);
    if (pc !== this.#pc) return;
    switch (pc.connectionState) {
      case "connected":
        this.#lastNoWay = null;
        clearTimeout(this.#timer);
        this.#backoff.reset();
        this.#set("connected");
        break;
      case "disconnected":
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => void this.#offer(true), HEAL_WITHIN);
        this.#set("interrupted");
        break;
      case "failed":
      case "closed":
        this.#noWay(text("live.failed"));
        break;
      default:
    }
  }

  /** Use the old connection again if it has recovered. @param {RTCPeerConnection} pc */
  #healed(pc) {
    if (pc.connectionState === "failed" || pc.connectionState === "closed") return this.#closeOld();
    // During an offer the server may already have ended this one: wait for the new one.
    if (pc.connectionState !== "connected" || this.state !== "waiting") return;
    this.#attempt++;
    clearTimeout(this.#timer);
    this.#pc = pc;
    this.#old = null;
    this.#answered = true;
    this.#outage = false;
    this.#backoff.reset();
    this.#set("connected");
    // Otherwise abandoned offers that arrive late would replace it.
    this.#sendCandidates([]);
  }

  /** @param {RTCPeerConnection} pc @param {RTCIceCandidate|null} candidate */
  #found(pc, candidate) {
    // Null, and in some browsers an empty string, mark the end.
    if (pc !== this.#pc || !candidate?.candidate) return;
    this.#candidates.push(candidate.toJSON());
    if (this.#answered && this.#trickler === undefined) {
      this.#trickler = setTimeout(() => this.#trickle(), TRICKLE_EVERY);
    }
  }

  #trickle() {
    clearTimeout(this.#trickler);
    this.#trickler = undefined;
    const candidates = this.#candidates.splice(0).slice(0, MAX_CANDIDATES - this.#candidatesSent);
    if (candidates.length === 0) return;
    this.#candidatesSent += candidates.length;
    this.#sendCandidates(candidates);
  }

  /** @param {RTCIceCandidateInit[]} candidates */
  #sendCandidates(candidates) {
    // A lost one is ignored: others may connect, and connecting has a time limit.
    request("PATCH", this.#path(), { token: this.#session.token, body: { candidates } }).catch(() => {});
  }

  /** Keep the current connection beside a new offer, even if it is interrupted. */
  #setAside() {
    const pc = this.#pc;
    if (pc && this.#answered && ["connected", "disconnected"].includes(pc.connectionState)) {
      this.#closeOld();
      this.#old = pc;
      this.#pc = null;
    }
    this.#drop();
  }

  /** End the newest offer. */
  #drop() {
    this.#attempt++;
    clearTimeout(this.#timer);
    clearTimeout(this.#trickler);
    this.#trickler = undefined;
    this.#candidates = [];
    this.#candidatesSent = 0;
    this.#relayTrouble = null;
    this.#answered = false;
    const pc = this.#pc;
    this.#pc = null;
    pc?.close();
    if (this.#old === null) this.#dropSender();
  }

  #dropAll() {
    this.#closeOld();
    this.#drop();
  }

  #closeOld() {
    const old = this.#old;
    this.#old = null;
    if (old === null) return;
    old.close();
    this.#dropSender();
  }

  #dropSender() {
    this.#sound = null;
    if (this.#sender === null) return;
    this.#sender = null;
    this.#onSender(null, null);
  }

  /** @param {PeerState} state @param {ApiError|null} [error] */
  #set(state, error = null) {
    this.state = state;
    this.#onState(state, error);
  }
}

import { ApiError, request } from "../../../core/live/api.js";

/**
 * Where a further camera sends, as POST /api/cameras/join answers.
 * @typedef {{name: string, address: string, token: string, ice_servers: RTCIceServer[]}} Place
 */

// Milliseconds for candidates, and between two attempts
const GATHER_WITHIN = 1000;
const AGAIN = [1000, 2000, 5000, 10_000];
const MOST_BITRATE = 1_500_000;
const MOST_FRAMES = 15;

/** A further camera's connection by WHIP, which comes back by itself. Uses no DOM. */
export class Sending {
  #onState;
  /** @type {RTCPeerConnection|null} */
  #pc = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #failures = 0;
  // The address of the WHIP session; "" without one
  #resource = "";
  // Grows with each attempt and end, so that code after an await notices that it is outdated.
  #attempt = 0;

  /**
   * @param {(state: "connecting"|"live"|"waiting"|"over") => void} onState waiting: will try again; over: the place has
   *   ended
   */
  constructor(onState) {
    this.#onState = onState;
  }

  /**
   * Change a one-time code for a place, and keep that in this tab: a reload goes on with it.
   * @param {string} code
   * @returns {Promise<Place>}
   * @throws {ApiError}
   */
  static async join(code) {
    const [session] = code.split("~");
    const place = await request("POST", `/api/cameras/join?session=${encodeURIComponent(session)}`, { body: { code } });
    history.replaceState({ place }, "");
    return place;
  }

  /** @returns {Place|null} the place that this tab had before */
  static kept() {
    return history.state?.place ?? null;
  }

  static forget() {
    history.replaceState(null, "");
  }

  /** @param {Place} place @param {MediaStreamTrack} track */
  start(place, track) {
    this.#failures = 0;
    void this.#connect(place, track);
  }

  /** @param {Place} place @param {MediaStreamTrack} track */
  async #connect(place, track) {
    const attempt = ++this.#attempt;
    this.#drop();
    this.#onState("connecting");
    const pc = (this.#pc = new RTCPeerConnection({ iceServers: place.ice_servers }));
    pc.addTransceiver(track, {
      direction: "sendonly",
      sendEncodings: [{ maxBitrate: MOST_BITRATE, maxFramerate: MOST_FRAMES }],
    });
    pc.onconnectionstatechange = () => {
      if (attempt !== this.#attempt) return;
      if (pc.connectionState === "connected") {
        this.#failures = 0;
        this.#onState("live");
      } else if (["disconnected", "failed", "closed"].includes(pc.connectionState)) this.#again(place, track);
    };
    try {
      await pc.setLocalDescription();
      await gatherCandidates(pc);
      if (attempt !== this.#attempt) return;
      const reply = await fetch(place.address, {
        method: "POST",
        headers: { Authorization: `Bearer ${place.token}`, "Content-Type": "application/sdp" },
        body: pc.localDescription?.sdp,
        signal: AbortSignal.timeout(10_000),
      });
      if (attempt !== this.#attempt) return;
      if (reply.status === 401 || reply.status === 404) return this.#over();
      if (!reply.ok) throw new ApiError(String(reply.status));
      this.#resource = new URL(reply.headers.get("Location") ?? "", reply.url).href;
      await pc.setRemoteDescription({ type: "answer", sdp: await reply.text() });
    } catch {
      if (attempt === this.#attempt) this.#again(place, track);
    }
  }

  /** @param {Place} place */
  stop(place) {
    this.#attempt++;
    const pc = this.#pc;
    if (this.#resource && pc) {
      this.#pc = null;
      // Closed after the request, which would find nothing otherwise. Should it not arrive, the server notices the end
      // by itself.
      fetch(this.#resource, { method: "DELETE", headers: { Authorization: `Bearer ${place.token}` }, keepalive: true })
        .catch(() => {})
        .finally(() => pc.close());
    }
    this.#drop();
  }

  /** @param {Place} place @param {MediaStreamTrack} track */
  #again(place, track) {
    this.#attempt++;
    this.#drop();
    this.#onState("waiting");
    this.#timer = setTimeout(
      () => void this.#connect(place, track),
      AGAIN[Math.min(this.#failures++, AGAIN.length - 1)],
    );
  }

  #over() {
    this.#attempt++;
    this.#drop();
    Sending.forget();
    this.#onState("over");
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#resource = "";
    this.#pc?.close();
    this.#pc = null;
  }
}

/** Wait for the candidates, but not for long. @param {RTCPeerConnection} pc @returns {Promise<void>} */
function gatherCandidates(pc) {
  return new Promise((resolve) => {
    const done = () => {
      if (pc.iceGatheringState === "complete") resolve();
    };
    pc.addEventListener("icegatheringstatechange", done);
    setTimeout(resolve, GATHER_WITHIN);
    done();
  });
}

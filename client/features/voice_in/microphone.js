import { troubleOf } from "../../core/live/camera.js";

/** The reason for having no microphone. */
export class MicrophoneProblem extends Error {
  /** @param {import("../../core/live/camera.js").CameraTrouble} kind */
  constructor(kind) {
    super(kind);
    this.name = "MicrophoneProblem";
    this.kind = kind;
  }
}

// The browser removes the echo of what it plays itself, noise, and differences of loudness.
/** @type {MediaTrackConstraints} */
const SOUND = { echoCancellation: true, noiseSuppression: true, autoGainControl: true, channelCount: 1 };

/** The device's microphone: open, mute, close. The browser asks for permission with the first `open`. Uses no DOM. */
export class Microphone {
  /** @type {MediaStreamTrack|null} null while closed */
  track = null;

  #onLost;
  // Grows with every open and close, so that code after an await notices that it is outdated.
  #attempt = 0;

  /** @param {() => void} onLost the device was disconnected, or its permission withdrawn */
  constructor(onLost) {
    this.#onLost = onLost;
  }

  /**
   * @returns {Promise<boolean>} false when it was closed in the meantime
   * @throws {MicrophoneProblem}
   */
  async open() {
    const attempt = ++this.#attempt;
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new MicrophoneProblem("insecure");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ audio: SOUND, video: false });
    } catch (error) {
      if (attempt !== this.#attempt) return false;
      throw new MicrophoneProblem(await troubleOf(error, "microphone"));
    }
    const [track] = stream.getAudioTracks();
    if (attempt !== this.#attempt) {
      track.stop();
      return false;
    }
    this.track = track;
    track.onended = () => {
      if (track === this.track) this.#onLost();
    };
    return true;
  }

  /** Let its sound through, or silence in its place. @param {boolean} heard */
  hear(heard) {
    if (this.track) this.track.enabled = heard;
  }

  close() {
    this.#attempt++;
    const { track } = this;
    this.track = null;
    if (!track) return;
    track.onended = null;
    track.stop();
  }
}

/**
 * The reason for having no camera.
 * @typedef {"insecure"|"refused"|"dismissed"|"missing"|"busy"|"failed"} CameraTrouble
 */

export class CameraProblem extends Error {
  /** @param {CameraTrouble} kind @param {string} [message] */
  constructor(kind, message = kind) {
    super(message);
    this.name = "CameraProblem";
    this.kind = kind;
  }
}

/** Of a shared screen: readable letters. @type {MediaTrackConstraints} */
const SCREEN = { width: { max: 1920 }, height: { max: 1200 }, frameRate: { ideal: 30, max: 30 } };

/**
 * The device's camera: open, close, exchange, torch, zoom, focus; or a screen. Uses no DOM.
 */
export class Camera {
  /** @type {MediaStream|null} null while closed */
  stream = null;
  torch = false;
  /** It is a shared screen. */
  screen = false;
  // Number of cameras; known only after permission was given
  count = 0;

  #onChange;
  #onLost;
  #facing = "environment";
  #height = 720;
  #deviceId = "";
  // The device that the user has chosen; "" for none
  #chosen = "";
  // Id of the last used device; "" before, and when the browser hides it
  #last = "";
  // Grows with every open and close: code after an await notices that it is outdated.
  #attempt = 0;
  /** @type {{zoom?: number, frameRate?: number}} constraints besides the picture's */
  #wishes = {};

  /**
   * @param {{onChange: () => void, onLost: () => void}} hooks
   * onChange: the track, its capabilities or muting changed; onLost: the device was disconnected, or the screen is
   * shared no more
   */
  constructor({ onChange, onLost }) {
    this.#onChange = onChange;
    this.#onLost = onLost;
  }

  get track() {
    return this.stream?.getVideoTracks()[0] ?? null;
  }

  /** True while the system uses the camera, as phones do during a call. */
  get muted() {
    return this.track?.muted ?? false;
  }

  /** @returns {any} this camera's capabilities; empty when the browser does not give them */
  get abilities() {
    return (!this.screen && this.track?.getCapabilities?.()) || {};
  }

  get zoom() {
    const range = this.abilities.zoom;
    if (!range || !(range.max > range.min)) return null;
    const value = /** @type {any} */ (this.track?.getSettings()).zoom ?? range.min;
    return { min: range.min, max: range.max, step: range.step || (range.max - range.min) / 50, value };
  }

  get hasTorch() {
    return Boolean(this.abilities.torch);
  }

  get canFocus() {
    const modes = this.abilities.focusMode ?? [];
    return modes.includes("single-shot") || modes.includes("manual") || Boolean(this.abilities.pointsOfInterest);
  }

  /**
   * @returns {Promise<boolean>} false when it was closed in the meantime
   * @throws {CameraProblem}
   */
  async open() {
    const attempt = ++this.#attempt;
    if (!window.isSecureContext || !navigator.mediaDevices?.getUserMedia) throw new CameraProblem("insecure");
    const from = this.#deviceId
      ? { deviceId: { exact: this.#deviceId } }
      : { facingMode: { ideal: this.#facing } };
    let stream;
    try {
      stream = await this.#get({ ...pictureOf(this.#height), ...from });
    } catch (error) {
      if (attempt !== this.#attempt) return false;
      throw await explain(error);
    }
    if (attempt !== this.#attempt) {
      for (const track of stream.getTracks()) track.stop();
      return false;
    }
    this.#use(stream);
    void this.recount();
    return true;
  }

  /** Count the cameras again. Browsers give the number only after permission. */
  async recount() {
    if (!this.stream) return;
    const devices = await navigator.mediaDevices.enumerateDevices();
    this.count = devices.filter((device) => device.kind === "videoinput").length;
    this.#onChange();
  }

  /**
   * Let the person choose a screen or window for the camera's place.
   * @returns {Promise<boolean>} false: nothing has changed
   * @throws {CameraProblem}
   */
  async share() {
    const attempt = this.#attempt;
    let stream;
    try {
      stream = await navigator.mediaDevices.getDisplayMedia({ video: SCREEN, audio: false });
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotAllowedError") return false;
      throw new CameraProblem("failed", String(error));
    }
    if (attempt !== this.#attempt) {
      for (const track of stream.getTracks()) track.stop();
      return false;
    }
    this.close();
    this.#use(stream, true);
    return true;
  }

  /**
   * Open this device next, with a picture of this height.
   * @param {string} deviceId "" for any
   * @param {number} height in pixels
   * @returns {boolean} true for a change
   */
  prefer(deviceId, height) {
    const same = deviceId === this.#chosen && height === this.#height;
    this.#height = height;
    if (deviceId !== this.#chosen) this.choose(deviceId);
    return !same;
  }

  /** Open this device next. @param {string} deviceId "" for any */
  choose(deviceId) {
    this.#deviceId = this.#chosen = deviceId;
  }

  /** @returns {Promise<boolean>} true when the last used camera is connected again; it will be opened next */
  async returned() {
    const devices = await navigator.mediaDevices.enumerateDevices();
    const back =
      this.#last !== "" && devices.some(({ kind, deviceId }) => kind === "videoinput" && deviceId === this.#last);
    if (back) this.#deviceId = this.#last;
    return back;
  }

  close() {
    this.#attempt++;
    const stream = this.stream;
    this.stream = null;
    this.torch = this.screen = false;
    this.#wishes = {};
    for (const track of stream?.getTracks() ?? []) {
      track.onended = track.onmute = track.onunmute = null;
      track.stop();
    }
  }

  /**
   * Switch to the other side of a phone, or to the next camera. The old one is closed first, because many phones cannot
   * open two.
   * @returns {Promise<boolean>}
   * @throws {CameraProblem}
   */
  async exchange() {
    const before = { facing: this.#facing, deviceId: this.#deviceId };
    const now = this.track?.getSettings() ?? {};
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "videoinput");
    if (now.facingMode === "user" || now.facingMode === "environment") {
      this.#facing = now.facingMode === "user" ? "environment" : "user";
      this.#deviceId = "";
    } else if (devices.length > 1) {
      const at = devices.findIndex((device) => device.deviceId === now.deviceId);
      this.#deviceId = devices[(at + 1) % devices.length].deviceId;
    }
    this.close();
    try {
      return await this.open();
    } catch (error) {
      this.#facing = before.facing;
      this.#deviceId = before.deviceId;
      if (error instanceof CameraProblem && error.kind === "refused") throw error;
      return this.open();
    }
  }

  /** Reopen it with the current preferences. @returns {Promise<boolean>} @throws {CameraProblem} */
  async reopen() {
    this.close();
    return this.open();
  }

  /** @param {boolean} on */
  async setTorch(on) {
    const before = this.torch;
    this.torch = on;
    try {
      await this.#constrain({ torch: on });
    } catch (error) {
      this.torch = before;
      throw error;
    }
    this.#onChange();
  }

  /** @param {number} zoom */
  async setZoom(zoom) {
    this.#wishes.zoom = zoom;
    await this.#constrain();
  }

  /** Limit the frames per second at the camera itself. @param {number} frameRate */
  async limitFrameRate(frameRate) {
    this.#wishes.frameRate = frameRate;
    await this.#constrain();
  }

  /** @param {number} x 0 to 1 from the left @param {number} y 0 to 1 from the top */
  async focusAt(x, y) {
    const modes = this.abilities.focusMode ?? [];
    const focusMode = modes.includes("single-shot") ? "single-shot" : "continuous";
    await this.#constrain({ pointsOfInterest: [{ x, y }], focusMode });
  }

  /** @param {MediaTrackConstraints} video */
  async #get(video) {
    try {
      return await navigator.mediaDevices.getUserMedia({ audio: false, video });
    } catch (error) {
      // The exact camera is gone, or cannot meet the constraints: open any.
      if (!(error instanceof DOMException) || error.name !== "OverconstrainedError") throw error;
      this.#deviceId = "";
      return navigator.mediaDevices.getUserMedia({ audio: false, video: true });
    }
  }

  /** @param {MediaStream} stream @param {boolean} [screen] */
  #use(stream, screen = false) {
    this.stream = stream;
    this.screen = screen;
    const track = stream.getVideoTracks()[0];
    if (!screen) this.#last = track.getSettings().deviceId ?? "";
    if ("contentHint" in track) track.contentHint = "detail";
    track.onended = () => {
      if (track === this.track) this.#onLost();
    };
    track.onmute = track.onunmute = () => {
      if (track === this.track) this.#onChange();
    };
  }

  /** Apply all constraints, because each call replaces the previous ones. @param {object} [more] */
  async #constrain(more = {}) {
    const { frameRate, zoom } = this.#wishes;
    const special = {
      ...(zoom === undefined ? {} : { zoom }),
      ...(this.torch ? { torch: true } : {}),
      ...more,
    };
    await this.track?.applyConstraints(
      /** @type {any} */ ({
        ...(this.screen ? SCREEN : pictureOf(this.#height)),
        ...(frameRate ? { frameRate: { ideal: frameRate, max: frameRate } } : {}),
        ...(Object.keys(special).length > 0 ? { advanced: [special] } : {}),
      }),
    );
  }
}

/** @param {number} height in pixels, of a picture of 16 to 9 @returns {MediaTrackConstraints} */
function pictureOf(height) {
  return { width: { ideal: Math.round((height * 16) / 9) }, height: { ideal: height }, frameRate: { ideal: 30 } };
}

/** @param {unknown} error @returns {Promise<CameraProblem>} */
async function explain(error) {
  const kind = await troubleOf(error, "camera");
  return kind === "failed" ? new CameraProblem(kind, String(error)) : new CameraProblem(kind);
}

/**
 * Find the reason why the browser gave no device.
 * @param {unknown} error @param {"camera"|"microphone"} device
 * @returns {Promise<CameraTrouble>}
 */
export async function troubleOf(error, device) {
  const name = error instanceof Error ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") {
    // Only some browsers report if they would still prompt.
    const state = await navigator.permissions
      ?.query({ name: /** @type {any} */ (device) })
      .then((permission) => permission.state)
      .catch(() => "denied");
    return state === "prompt" ? "dismissed" : "refused";
  }
  if (name === "NotFoundError" || name === "DevicesNotFoundError") return "missing";
  if (name === "NotReadableError" || name === "AbortError" || name === "TrackStartError") return "busy";
  return "failed";
}

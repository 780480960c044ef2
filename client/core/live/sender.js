/** @typedef {Omit<import("./messages.d.ts").Sender, "type">} SenderPlan */

/**
 * Parameters of the sender at one time.
 * @typedef {Object} Setting
 * @property {number} framerate
 * @property {number} bitrate
 * @property {string} degradation
 * @property {string} hint
 */

// Milliseconds for an encoder to follow a new rate, and for measuring it.
const SETTLE = 1000;
const MEASURE = 1500;

/**
 * Compute the sender's parameters, `since` ms after waking or falling back to idle.
 * @param {SenderPlan} plan
 * @param {boolean} awake
 * @param {number} since
 * @returns {{setting: Setting, next: number}} next: time of the next change, counted like `since` (ms); Infinity for
 *   never
 */
export function settingAt(plan, awake, since) {
  const profile = awake ? plan.awake : plan.idle;
  let bitrate = profile.max_bitrate;
  let next = Infinity;
  const ramp = (awake ? plan.ramp : plan.settle) ?? [];
  if (ramp.length > 0) {
    bitrate = ramp[0].max_bitrate;
    for (const step of ramp) {
      if (step.at_ms <= since) bitrate = step.max_bitrate;
      else next = Math.min(next, step.at_ms);
    }
  }
  return {
    setting: {
      framerate: Math.max(1, Math.round(profile.max_framerate)),
      bitrate: Math.round(bitrate),
      degradation: profile.degradation_preference ?? "maintain-resolution",
      hint: profile.content_hint ?? "detail",
    },
    next,
  };
}

/**
 * Keeps the camera's sender at the server's limits: idle, or awake for a while after each wake-up.
 *
 * setParameters needs parameters that were read just before, and allows one call at a time, so one loop applies the
 * latest setting. Frames are counted to find a browser that ignores the frame rate there; then the track's constraints
 * are used, and if those have no effect either, the camera stays as it is.
 */
export class SenderControl {
  /** @type {"parameters"|"constraints"|"none"} the way to limit the frame rate in this browser */
  method = "parameters";

  /** @type {RTCRtpSender|null} */
  #sender = null;
  /** @type {SenderPlan|null} null before the first answer */
  #plan = null;
  /** @type {Setting|null} */
  #wanted = null;
  // The last applied setting as text; "" before the first
  #applied = "";
  #applying = false;
  #wokeAt = 0;
  // Idle until the first wake-up
  #awakeUntil = -Infinity;
  /** @type {ReturnType<typeof setTimeout>|undefined} the next step of the ramp, or falling back to idle */
  #timer;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #verifier;
  #verified = false;
  #limitRate;

  /** @param {{limitRate: (framerate: number) => Promise<void>}} parts limits the rate at the camera itself */
  constructor({ limitRate }) {
    this.#limitRate = limitRate;
  }

  get awake() {
    return performance.now() < this.#awakeUntil;
  }

  /** @param {RTCRtpSender|null} sender @param {SenderPlan|null} plan */
  attach(sender, plan) {
    this.#sender = sender;
    this.#applied = "";
    this.#verified = false;
    clearTimeout(this.#verifier);
    if (plan) this.follow(plan);
    else this.#update();
  }

  /** Apply new limits at once, in every state. @param {SenderPlan} plan */
  follow(plan) {
    this.#plan = plan;
    if (plan.wake_ms) this.wake(plan.wake_ms);
    else this.#update();
  }

  /**
   * Send at the awake rate from now on. The first setParameters call starts before this returns.
   * @param {number} [ms] duration; the plan's by default
   */
  wake(ms = this.#plan?.awake_ms ?? 1500) {
    const now = performance.now();
    if (now >= this.#awakeUntil) this.#wokeAt = now;
    this.#awakeUntil = Math.max(this.#awakeUntil, now + ms);
    this.#update();
  }

  /** Apply the content hint again, because it belongs to the track, which was exchanged. */
  refresh() {
    this.#applied = "";
    this.#update();
  }

  #update() {
    clearTimeout(this.#timer);
    if (!this.#plan || !this.#sender) return;
    const now = performance.now();
    const awake = now < this.#awakeUntil;
    const since = awake ? this.#wokeAt : this.#awakeUntil;
    const { setting, next } = settingAt(this.#plan, awake, now - since);
    this.#wanted = setting;
    void this.#apply();
    const step = next === Infinity ? Infinity : since + next;
    const at = awake ? Math.min(this.#awakeUntil, step) : step;
    if (at < Infinity) this.#timer = setTimeout(() => this.#update(), Math.max(1, at - now));
    if (!awake && at === Infinity && !this.#verified && this.method !== "none") {
      clearTimeout(this.#verifier);
      this.#verifier = setTimeout(() => void this.#verify(), SETTLE);
    }
  }

  async #apply() {
    if (this.#applying) return; // the loop below applies the newest setting
    this.#applying = true;
    try {
      while (this.#sender && this.#wanted) {
        const wanted = this.#wanted;
        const key = JSON.stringify(wanted);
        if (key === this.#applied) break;
        this.#applied = key;
        await this.#set(this.#sender, wanted);
      }
    } finally {
      this.#applying = false;
    }
  }

  /** @param {RTCRtpSender} sender @param {Setting} wanted */
  async #set(sender, wanted) {
    const track = sender.track;
    if (track && "contentHint" in track && track.contentHint !== wanted.hint) track.contentHint = wanted.hint;
    const parameters = /** @type {RTCRtpSendParameters & {degradationPreference?: string}} */ (
      sender.getParameters()
    );
    if (!parameters.encodings?.length) parameters.encodings = [{}];
    parameters.degradationPreference = /** @type {any} */ (wanted.degradation);
    for (const encoding of parameters.encodings) {
      encoding.maxBitrate = wanted.bitrate;
      encoding.maxFramerate = wanted.framerate;
    }
    try {
      await sender.setParameters(parameters);
      const kept = sender.getParameters().encodings?.[0];
      if (this.method === "parameters" && kept && kept.maxFramerate === undefined) this.method = "constraints";
    } catch (error) {
      // Closed in the meantime, or the browser refuses a field; counting frames decides what to do next.
      console.debug("setParameters was refused", error);
    }
    if (this.method === "constraints") await this.#limitRate(wanted.framerate).catch(() => {});
  }

  /** Count the frames sent while idle, and change the method if the rate is not followed. */
  async #verify() {
    const sender = this.#sender;
    const key = this.#applied;
    const undisturbed = () => sender === this.#sender && key === this.#applied && !this.awake;
    const limit = this.#wanted?.framerate ?? 30;
    if (!sender || !undisturbed()) return;
    const from = await framesSent(sender);
    const start = performance.now();
    await new Promise((resolve) => setTimeout(resolve, MEASURE));
    if (!undisturbed()) return; // measured again when it idles again
    const to = await framesSent(sender);
    if (!undisturbed() || from === null || to === null) return;
    const rate = ((to - from) * 1000) / (performance.now() - start);
    if (rate <= limit * 1.5 + 1) {
      this.#verified = true;
      return;
    }
    this.method = this.method === "parameters" ? "constraints" : "none";
    if (this.method === "none") await this.#limitRate(30).catch(() => {});
    this.refresh();
  }
}

/** @param {RTCRtpSender} sender @returns {Promise<number|null>} */
async function framesSent(sender) {
  for (const report of (await sender.getStats()).values()) {
    if (report.type === "outbound-rtp" && typeof report.framesSent === "number") return report.framesSent;
  }
  return null;
}

// Milliseconds between two readings of the statistics
const READ_EVERY = 1000;

/**
 * Statistics of what the browser sends.
 * @typedef {Object} Sent
 * @property {number} bytes since the page was opened, over all connections, headers included
 * @property {number} kbps
 * @property {number} fps
 * @property {number} width 0 when nothing was sent yet
 * @property {number} height
 * @property {string} limitation the browser's own reason for sending less: none, cpu, bandwidth or other
 */

/** Reads the sender's statistics every second. */
export class SendStats {
  #onRead;
  /** @type {RTCRtpSender|null} */
  #sender = null;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #timer;
  // Bytes of ended connections
  #past = 0;
  /** @type {{at: number, bytes: number, frames: number}|null} */
  #last = null;

  /** @param {(sent: Sent) => void} onRead */
  constructor(onRead) {
    this.#onRead = onRead;
  }

  /** @param {RTCRtpSender|null} sender null stops it */
  attach(sender) {
    clearInterval(this.#timer);
    this.#past += this.#last?.bytes ?? 0;
    this.#last = null;
    this.#sender = sender;
    if (sender) this.#timer = setInterval(() => void this.#read(sender), READ_EVERY);
    else this.#onRead({ bytes: this.#past, kbps: 0, fps: 0, width: 0, height: 0, limitation: "none" });
  }

  /** @param {RTCRtpSender} sender */
  async #read(sender) {
    const reports = await sender.getStats();
    if (sender !== this.#sender) return;
    for (const report of reports.values()) {
      if (report.type !== "outbound-rtp" || report.kind !== "video") continue;
      const now = {
        at: report.timestamp,
        bytes: (report.bytesSent ?? 0) + (report.headerBytesSent ?? 0),
        frames: report.framesSent ?? 0,
      };
      const before = this.#last;
      this.#last = now;
      const seconds = before ? (now.at - before.at) / 1000 : 0;
      this.#onRead({
        bytes: this.#past + now.bytes,
        kbps: before && seconds > 0 ? ((now.bytes - before.bytes) * 8) / 1000 / seconds : 0,
        fps: before && seconds > 0 ? (now.frames - before.frames) / seconds : 0,
        width: report.frameWidth ?? 0,
        height: report.frameHeight ?? 0,
        limitation: report.qualityLimitationReason ?? "none",
      });
    }
  }
}

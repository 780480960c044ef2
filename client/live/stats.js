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

const EVERY = 1000;

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
    if (sender) this.#timer = setInterval(() => void this.#read(sender), EVERY);
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

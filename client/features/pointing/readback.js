import { MAX_PIXELS } from "./ring.js";

// Least time between two pictures, ms; and how late a frame may be handed over
const GAP_MS = 80;
const LATEST_MS = 2000;
const MIN_SIDE = 32;

/**
 * The size of the small picture of a video: its shape with 320x180 pixels at most.
 * @param {number} width @param {number} height @returns {{width: number, height: number}|null} null for a shape that is
 *   too narrow
 */
export function smallSize(width, height) {
  const scale = Math.min(1, Math.sqrt(MAX_PIXELS / (width * height)));
  const size = { width: Math.floor(width * scale), height: Math.floor(height * scale) };
  return size.width < MIN_SIDE || size.height < MIN_SIDE ? null : size;
}

// Bytes of a whole frame, beyond which it is drawn small in place of copied
const MAX_FRAME_BYTES = 16 * 1024 * 1024;
// Formats of frames whose first plane is luma; and weights of the bytes of those with four a pixel
const PLANAR = /^(I420|I422|I444|NV12)/;
/** @type {Record<string, [number, number, number]>} */
const WEIGHTS = { RGBA: [77, 150, 29], RGBX: [77, 150, 29], BGRA: [29, 150, 77], BGRX: [29, 150, 77] };

/**
 * Shrink a frame to luma: four pixels of it for each.
 * @param {Uint8Array} bytes @param {{offset: number, stride: number}} layout @param {string} format
 * @param {number} frameWidth @param {number} frameHeight @param {Uint8Array} luma @param {number} width @param {number}
 *   height
 * @returns {boolean} false for a format that is not known
 */
export function shrink(bytes, { offset, stride }, format, frameWidth, frameHeight, luma, width, height) {
  const weights = WEIGHTS[format];
  if (!weights && !PLANAR.test(format)) return false;
  const step = weights ? 4 : 1;
  const [across, down] = [frameWidth / width, frameHeight / height];
  const columns = Int32Array.from({ length: 2 * width }, (_, n) => step * Math.floor(((n + 0.5) * across) / 2));
  for (let y = 0, at = 0; y < height; y++) {
    const upper = offset + stride * Math.floor((y + 0.25) * down);
    const lower = offset + stride * Math.floor((y + 0.75) * down);
    for (let n = 0; n < columns.length; n += 2, at++) {
      const [left, right] = [columns[n], columns[n + 1]];
      if (weights) {
        let sum = 0;
        for (let byte = 0; byte < 3; byte++) {
          sum +=
            weights[byte] *
            (bytes[upper + left + byte] +
              bytes[upper + right + byte] +
              bytes[lower + left + byte] +
              bytes[lower + right + byte]);
        }
        luma[at] = sum >> 10;
      } else
        luma[at] = (bytes[upper + left] + bytes[upper + right] + bytes[lower + left] + bytes[lower + right] + 2) >> 2;
    }
  }
  return true;
}

/** Reads small luma pictures from the playing video, while somebody wants them. */
export class Readback {
  #video;
  #onPicture;
  #running = false;
  // Grows with each start, so that an older frame's callback notices that it is outdated.
  #round = 0;
  #last = -Infinity;
  /** @type {CanvasRenderingContext2D|null} */
  #drawn = null;
  #luma = new Uint8Array(0);
  // Memory of a whole frame
  #bytes = new Uint8Array(0);
  // Frames are copied, which takes a tenth of the time of drawing them; false where the browser cannot.
  #copies = "VideoFrame" in window;
  #copying = false;

  /**
   * @param {HTMLVideoElement} video
   * @param {(luma: Uint8Array, width: number, height: number, capturedAt: number) => void} onPicture luma: valid during
   *   the call;
   *   capturedAt: as by `pageTime`
   */
  constructor(video, onPicture) {
    this.#video = video;
    this.#onPicture = onPicture;
  }

  get running() {
    return this.#running;
  }

  start() {
    if (this.#running) return;
    this.#running = true;
    this.#round++;
    this.#wait();
  }

  stop() {
    this.#running = false;
    // Its memory is given back.
    this.#drawn = null;
    this.#luma = this.#bytes = new Uint8Array(0);
  }

  #wait() {
    const round = this.#round;
    /** @param {number} now @param {{captureTime?: number}} [frame] */
    const step = (now, frame) => {
      if (!this.#running || round !== this.#round) return;
      const captured = frame?.captureTime ?? now;
      const at = captured <= now && captured > now - LATEST_MS ? captured : now;
      if (at - this.#last >= GAP_MS || at < this.#last) {
        this.#last = at;
        this.#read(performance.timeOrigin + at);
      }
      this.#wait();
    };
    if ("requestVideoFrameCallback" in this.#video) this.#video.requestVideoFrameCallback(step);
    else setTimeout(() => step(performance.now()), GAP_MS);
  }

  /** @param {number} capturedAt */
  #read(capturedAt) {
    const { videoWidth, videoHeight } = this.#video;
    const size = videoWidth && videoHeight ? smallSize(videoWidth, videoHeight) : null;
    if (!size || this.#copying) return;
    if (this.#luma.length !== size.width * size.height) this.#luma = new Uint8Array(size.width * size.height);
    if (this.#copies) void this.#copy(size.width, size.height, capturedAt);
    else this.#draw(size.width, size.height, capturedAt);
  }

  /** @param {number} width @param {number} height @param {number} capturedAt */
  async #copy(width, height, capturedAt) {
    const round = this.#round;
    const luma = this.#luma;
    /** @type {VideoFrame|undefined} */
    let frame;
    this.#copying = true;
    try {
      frame = new VideoFrame(this.#video);
      const { format, visibleRect: seen } = frame;
      // A frame that is shown turned or stretched is drawn.
      const plain = seen?.width === this.#video.videoWidth && seen.height === this.#video.videoHeight;
      const size = frame.allocationSize();
      if (!format || !plain || size > MAX_FRAME_BYTES) throw new Error("This frame is drawn.");
      if (this.#bytes.length < size) this.#bytes = new Uint8Array(size);
      const [layout] = await frame.copyTo(this.#bytes.subarray(0, size));
      if (!shrink(this.#bytes, layout, format, seen.width, seen.height, luma, width, height)) throw new Error(format);
    } catch {
      this.#copies = false;
      return;
    } finally {
      frame?.close();
      this.#copying = false;
    }
    if (this.#running && round === this.#round) this.#onPicture(luma, width, height, capturedAt);
  }

  /** @param {number} width @param {number} height @param {number} capturedAt */
  #draw(width, height, capturedAt) {
    if (this.#drawn?.canvas.width !== width || this.#drawn.canvas.height !== height) {
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      this.#drawn = canvas.getContext("2d", { willReadFrequently: true });
    }
    if (!this.#drawn) return;
    this.#drawn.drawImage(this.#video, 0, 0, width, height);
    const { data } = this.#drawn.getImageData(0, 0, width, height);
    shrink(data, { offset: 0, stride: 4 * width }, "RGBA", width, height, this.#luma, width, height);
    this.#onPicture(this.#luma, width, height, capturedAt);
  }
}

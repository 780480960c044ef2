/** Seconds that the newest small pictures are kept. */
export const KEPT_MS = 3000;
/** Pictures that come closer than this behind another are not taken. */
export const MIN_GAP_MS = 60;
/** Pixels of a picture: 320x180, or as many in another shape. */
export const MAX_PIXELS = 320 * 180;
const MIN_SIDE = 32;
const SLOTS = Math.ceil(KEPT_MS / MIN_GAP_MS) + 1;
// A box about a frame that is not here is about the nearest, which lies no further off.
const NEAR_MS = 250;

/**
 * @param {{length: number}} luma
 * @param {number} width
 * @param {number} height
 * @throws {RangeError} for a picture that is not taken
 */
export function checkSize(luma, width, height) {
  const whole = Number.isInteger(width) && Number.isInteger(height);
  if (
    !whole ||
    width < MIN_SIDE ||
    height < MIN_SIDE ||
    width * height > MAX_PIXELS ||
    luma.length !== width * height
  ) {
    throw new RangeError(
      `A picture of ${width}x${height} with ${luma.length} bytes was given; sides of at least ${MIN_SIDE}, at most` +
        ` ${MAX_PIXELS} pixels and one byte for each are allowed.`,
    );
  }
}

/**
 * The newest small luma pictures by capture time: 3 seconds, 51 pictures of one size, 2.9 MB at most; the oldest goes.
 * Pictures are counted from the first one on; a number stays a picture's own.
 */
export class Ring {
  width;
  height;
  /** The number of the next picture */
  next = 0;
  /** The number of the oldest picture that is kept; `next` where there is none */
  first = 0;
  /** Pictures that were not taken: too close behind another, or older than it */
  dropped = 0;

  /** @type {Uint8Array[]} made when they are first needed */
  #slots = [];
  #times = new Float64Array(SLOTS);

  /** @param {number} width @param {number} height at most MAX_PIXELS together @throws {RangeError} */
  constructor(width, height) {
    checkSize({ length: width * height }, width, height);
    this.width = width;
    this.height = height;
  }

  /** @returns {number} bytes of luma that it holds */
  get bytes() {
    return this.#slots.length * this.width * this.height;
  }

  /**
   * Keep a copy.
   * @param {Uint8Array} luma
   * @param {number} capturedAt ms
   * @returns {boolean} false where it was not taken
   */
  put(luma, capturedAt) {
    checkSize(luma, this.width, this.height);
    if (!Number.isFinite(capturedAt)) {
      this.dropped++;
      return false;
    }
    if (this.next > this.first) {
      const gap = capturedAt - this.time(this.next - 1);
      // A clock that goes back, or stands for long, is another one: what was before it cannot be compared.
      if (gap < -KEPT_MS || gap > KEPT_MS) this.first = this.next;
      else if (!(gap >= MIN_GAP_MS)) {
        this.dropped++;
        return false;
      }
    }
    const slot = this.next % SLOTS;
    (this.#slots[slot] ??= new Uint8Array(this.width * this.height)).set(luma);
    this.#times[slot] = capturedAt;
    this.next++;
    if (this.next - this.first > SLOTS) this.first = this.next - SLOTS;
    while (capturedAt - this.time(this.first) > KEPT_MS) this.first++;
    return true;
  }

  /** @param {number} number of a picture that is kept @returns {Uint8Array} */
  luma(number) {
    return this.#slots[number % SLOTS];
  }

  /** @param {number} number of a picture that is kept @returns {number} when it was captured, ms */
  time(number) {
    return this.#times[number % SLOTS];
  }

  /**
   * The picture nearest to a time.
   * @param {number} capturedAt ms
   * @returns {number} its number; -1 where none is near
   */
  at(capturedAt) {
    let best = -1;
    let off = NEAR_MS;
    for (let n = this.first; n < this.next; n++) {
      const apart = Math.abs(this.time(n) - capturedAt);
      if (apart <= off) {
        off = apart;
        best = n;
      }
    }
    return best;
  }
}

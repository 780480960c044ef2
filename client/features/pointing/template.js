/**
 * The first look at a box, as a grid of luma: how much a place in a later picture is like it, and where exactly it
 * lies.
 *
 * A pose is a similarity about the box's centre: [a, b, x, y], where a point (u, v) from the centre of the first look
 * lies at (a u - b v + x, b u + a v + y). Gain and offset of the light are free.
 */
import { LEVELS, sample } from "./pyramid.js";

/** @typedef {import("./pyramid.js").Pyramid} Pyramid */
/** @typedef {Float64Array} Pose */

const GRID = 24;
const POINTS = GRID * GRID;
// The parts that have to agree on their own lie in a grid of 4x4.
const PARTS = 4;
const PART = GRID / PARTS;
// Points of a part that have to be in the picture, and the variance below which a part shows nothing.
const MIN_PART_POINTS = 12;
const MIN_PART_VARIANCE = 9;
const PART_AGREES = 0.5;
// Below this share of its points in the picture a pose cannot be compared, or aligned.
const MIN_SEEN = 0.35;
const MIN_SEEN_ALIGN = 0.5;
// A coarse comparison takes every third point of the grid.
const COARSE = 3;
const MIN_COARSE_POINTS = 30;

/** The correlation of a pose that lies mostly outside the picture */
export const OUTSIDE = -2;

/**
 * The comparison of a pose.
 * @typedef {{correlation: number, seen: number, parts: number, gain: number, offset: number}} Match
 */

// Luma at a pose, and which points lie in the picture
const seenLuma = new Float32Array(POINTS);
const inside = new Uint8Array(POINTS);
const matrix = new Float64Array(4 * 5);
const step = new Float64Array(4);
// The number of points that two sets of luma share, their sums, and how much each and both together vary
const spread = { n: 0, a: 0, b: 0, va: 0, vb: 0, both: 0 };

export class Template {
  width = 0;
  height = 0;
  /** Spread of the luma within it */
  deviation = 0;
  /** Result of the last `compare`. @type {Match} */
  match = { correlation: OUTSIDE, seen: 0, parts: 0, gain: 1, offset: 0 };

  /** Of the pyramid that it is read at, so that the grid's points are about a pixel apart */
  #level = 0;
  #luma = new Float32Array(POINTS);
  // Four a point: by scale, by rotation, by x and by y
  #slopes = new Float32Array(4 * POINTS);

  /**
   * Read it.
   * @param {Pyramid} pyramid
   * @param {number} x
   * @param {number} y its centre
   * @param {number} width
   * @param {number} height
   */
  take(pyramid, x, y, width, height) {
    this.width = width;
    this.height = height;
    this.#level = Math.max(0, Math.min(LEVELS - 1, Math.floor(Math.log2(Math.max(width, height) / GRID))));
    this.#read(pyramid, 1, 0, x, y);
    this.#luma.set(seenLuma);
    const level = pyramid.levels[this.#level];
    const size = 1 << this.#level;
    let sum = 0;
    let squares = 0;
    for (let j = 0, k = 0; j < GRID; j++) {
      const v = ((j + 0.5) / GRID - 0.5) * height;
      for (let i = 0; i < GRID; i++, k++) {
        const u = ((i + 0.5) / GRID - 0.5) * width;
        const px = (x + u + 0.5) / size - 0.5;
        const py = (y + v + 0.5) / size - 0.5;
        let dx = 0;
        let dy = 0;
        if (px > 1 && py > 1 && px < level.w - 3 && py < level.h - 3) {
          dx = (sample(level, px + 1, py) - sample(level, px - 1, py)) / (2 * size);
          dy = (sample(level, px, py + 1) - sample(level, px, py - 1)) / (2 * size);
        }
        this.#slopes[4 * k] = dx * u + dy * v;
        this.#slopes[4 * k + 1] = dy * u - dx * v;
        this.#slopes[4 * k + 2] = dx;
        this.#slopes[4 * k + 3] = dy;
        sum += this.#luma[k];
        squares += this.#luma[k] * this.#luma[k];
      }
    }
    this.deviation = Math.sqrt(Math.max(0, squares / POINTS - (sum / POINTS) ** 2));
  }

  /**
   * Compare the picture at a pose with the first look, whole and by parts.
   * @param {Pyramid} pyramid
   * @param {Pose} pose
   */
  compare(pyramid, pose) {
    const { match } = this;
    match.seen = this.#read(pyramid, pose[0], pose[1], pose[2], pose[3]);
    if (match.seen < MIN_SEEN) {
      match.correlation = OUTSIDE;
      match.parts = 0;
      return match;
    }
    this.#correlate();
    this.#agreement();
    return match;
  }

  /**
   * Move a pose to where the picture is most like the first look: robust Gauss-Newton.
   * @param {Pyramid} pyramid @param {Pose} pose is changed @param {number} steps
   */
  align(pyramid, pose, steps) {
    for (let n = 0; n < steps; n++) {
      if (this.#read(pyramid, pose[0], pose[1], pose[2], pose[3]) < MIN_SEEN_ALIGN) return;
      this.#correlate();
      this.#normalEquations();
      if (!solve()) return;
      // The pose, and before it the inverse of what was found
      const a = 1 + step[0];
      const b = step[1];
      const size = a * a + b * b;
      const ia = a / size;
      const ib = -b / size;
      const ix = ib * step[3] - ia * step[2];
      const iy = -ib * step[2] - ia * step[3];
      const [pa, pb, px, py] = pose;
      pose[0] = pa * ia - pb * ib;
      pose[1] = pb * ia + pa * ib;
      pose[2] = pa * ix - pb * iy + px;
      pose[3] = pb * ix + pa * iy + py;
      if (Math.abs(step[2]) + Math.abs(step[3]) < 0.03) return;
    }
  }

  /**
   * Correlation at a pose over a ninth of the points; OUTSIDE where too few are in the picture.
   * @param {Pyramid} pyramid
   * @param {number} pa
   * @param {number} pb
   * @param {number} x
   * @param {number} y
   */
  coarse(pyramid, pa, pb, x, y) {
    const level = pyramid.levels[this.#level];
    const size = 1 << this.#level;
    let n = 0;
    let a = 0;
    let b = 0;
    let aa = 0;
    let bb = 0;
    let ab = 0;
    for (let j = 1; j < GRID; j += COARSE) {
      const v = ((j + 0.5) / GRID - 0.5) * this.height;
      for (let i = 1; i < GRID; i += COARSE) {
        const u = ((i + 0.5) / GRID - 0.5) * this.width;
        const px = (pa * u - pb * v + x + 0.5) / size - 0.5;
        const py = (pb * u + pa * v + y + 0.5) / size - 0.5;
        if (!(px >= 0 && py >= 0 && px < level.w - 1 && py < level.h - 1)) continue;
        const s = sample(level, px, py);
        const t = this.#luma[j * GRID + i];
        n++;
        a += t;
        b += s;
        aa += t * t;
        bb += s * s;
        ab += t * s;
      }
    }
    if (n < MIN_COARSE_POINTS) return OUTSIDE;
    settle(n, a, b, aa, bb, ab);
    return correlation();
  }

  /**
   * Read the picture's luma at a pose.
   * @param {Pyramid} pyramid
   * @param {number} pa
   * @param {number} pb
   * @param {number} x
   * @param {number} y
   * @returns {number} the share of points inside it
   */
  #read(pyramid, pa, pb, x, y) {
    const level = pyramid.levels[this.#level];
    const size = 1 << this.#level;
    let seen = 0;
    for (let j = 0, k = 0; j < GRID; j++) {
      const v = ((j + 0.5) / GRID - 0.5) * this.height;
      for (let i = 0; i < GRID; i++, k++) {
        const u = ((i + 0.5) / GRID - 0.5) * this.width;
        const px = (pa * u - pb * v + x + 0.5) / size - 0.5;
        const py = (pb * u + pa * v + y + 0.5) / size - 0.5;
        if (px >= 0 && py >= 0 && px < level.w - 1 && py < level.h - 1) {
          seenLuma[k] = sample(level, px, py);
          inside[k] = 1;
          seen++;
        } else {
          seenLuma[k] = 0;
          inside[k] = 0;
        }
      }
    }
    return seen / POINTS;
  }

  /** Of what was read, with the gain and offset that take the first look there. */
  #correlate() {
    this.#compareSquare(0, GRID);
    this.match.correlation = correlation();
    this.match.gain = spread.both / Math.max(1, spread.va);
    this.match.offset = spread.b / spread.n - (this.match.gain * spread.a) / spread.n;
  }

  /**
   * Into `spread`: of the points in a square of the grid that were read.
   * @param {number} first its first point
   * @param {number} side
   */
  #compareSquare(first, side) {
    const t = this.#luma;
    let n = 0;
    let a = 0;
    let b = 0;
    let aa = 0;
    let bb = 0;
    let ab = 0;
    for (let j = 0; j < side; j++) {
      for (let k = first + j * GRID, end = k + side; k < end; k++) {
        if (!inside[k]) continue;
        n++;
        a += t[k];
        b += seenLuma[k];
        aa += t[k] * t[k];
        bb += seenLuma[k] * seenLuma[k];
        ab += t[k] * seenLuma[k];
      }
    }
    settle(n, a, b, aa, bb, ab);
  }

  /** The share of the parts that agree on their own: what hides half of a thing leaves the whole's correlation high. */
  #agreement() {
    let good = 0;
    let all = 0;
    for (let part = 0; part < PARTS * PARTS; part++) {
      this.#compareSquare(((part / PARTS) | 0) * PART * GRID + (part % PARTS) * PART, PART);
      if (spread.n < MIN_PART_POINTS || spread.va / spread.n < MIN_PART_VARIANCE) continue;
      all++;
      if (correlation() > PART_AGREES) good++;
    }
    // Too few with anything on them: the whole decides.
    this.match.parts = all >= 3 ? good / all : this.match.correlation > PART_AGREES ? 1 : 0;
  }

  /** Into `matrix`: of the differences that were read, each weighted by how little it stands out. */
  #normalEquations() {
    const gain = Math.min(3, Math.max(0.3, this.match.gain));
    const { offset } = this.match;
    const t = this.#luma;
    const J = this.#slopes;
    let sum = 0;
    let n = 0;
    for (let k = 0; k < POINTS; k += 3) {
      if (!inside[k]) continue;
      sum += Math.min(40, Math.abs(seenLuma[k] - gain * t[k] - offset));
      n++;
    }
    const usual = Math.max(3, (1.5 * sum) / Math.max(1, n));
    matrix.fill(0);
    for (let k = 0; k < POINTS; k++) {
      if (!inside[k]) continue;
      const e = seenLuma[k] - gain * t[k] - offset;
      const weight = 1 / (1 + (e / usual) ** 2);
      for (let i = 0, q = 4 * k; i < 4; i++) {
        const ji = weight * J[q + i] * gain;
        matrix[5 * i + 4] += ji * e;
        for (let j = i; j < 4; j++) matrix[5 * i + j] += ji * J[q + j] * gain;
      }
    }
    for (let i = 0; i < 4; i++) {
      for (let j = 0; j < i; j++) matrix[5 * i + j] = matrix[5 * j + i];
      // Held back where the picture does not say, scale and rotation more than the shift
      matrix[6 * i] = matrix[6 * i] * 1.001 + (i < 2 ? 500 : 2);
    }
  }
}

/**
 * Into `spread`, from the sums over `n` points of both lumas, their squares and their product.
 * @param {number} n
 * @param {number} a
 * @param {number} b
 * @param {number} aa
 * @param {number} bb
 * @param {number} ab
 */
function settle(n, a, b, aa, bb, ab) {
  spread.n = n;
  spread.va = aa - (a * a) / n;
  spread.vb = bb - (b * b) / n;
  spread.both = ab - (a * b) / n;
  spread.a = a;
  spread.b = b;
}

/** Of what `spread` holds. @returns {number} */
function correlation() {
  return spread.both / Math.sqrt(Math.max(1e-3, spread.va * spread.vb));
}

/** Solve `matrix` into `step`: Gauss with pivots. @returns {boolean} false where it has no solution */
function solve() {
  for (let i = 0; i < 4; i++) {
    let pivot = i;
    for (let j = i + 1; j < 4; j++) if (Math.abs(matrix[5 * j + i]) > Math.abs(matrix[5 * pivot + i])) pivot = j;
    if (!(Math.abs(matrix[5 * pivot + i]) > 1e-9)) return false;
    for (let c = 0; c < 5; c++) {
      const held = matrix[5 * i + c];
      matrix[5 * i + c] = matrix[5 * pivot + c];
      matrix[5 * pivot + c] = held;
    }
    for (let j = i + 1; j < 4; j++) {
      const f = matrix[5 * j + i] / matrix[6 * i];
      for (let c = i; c < 5; c++) matrix[5 * j + c] -= f * matrix[5 * i + c];
    }
  }
  for (let i = 3; i >= 0; i--) {
    let s = matrix[5 * i + 4];
    for (let c = i + 1; c < 4; c++) s -= matrix[5 * i + c] * step[c];
    step[i] = s / matrix[6 * i];
  }
  return true;
}

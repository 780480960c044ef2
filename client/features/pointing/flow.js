/** Follows points from one picture to the next: pyramidal Lucas-Kanade. */
import { LEVELS } from "./pyramid.js";

/** @typedef {import("./pyramid.js").Pyramid} Pyramid */
/** @typedef {import("./pyramid.js").Level} Level */

// The window is 7 pixels wide; its gradients need one more on each side.
const HALF = 3;
const SIDE = 2 * HALF + 1;
const PADDED = SIDE + 2;
const MAX_STEPS = 6;
// Of the squared gradients' smaller eigenvalue: a plain surface has none.
const MIN_TEXTURE = 40;
// A step shorter than this, squared, is the last one.
const SETTLED = 4e-4;
// Pixels between two pictures
const FARTHEST = 60;

const patch = new Float32Array(PADDED * PADDED);
const value = new Float32Array(SIDE * SIDE);
const slopeX = new Float32Array(SIDE * SIDE);
const slopeY = new Float32Array(SIDE * SIDE);

/**
 * @param {Pyramid} from @param {Pyramid} to
 * @param {number} x @param {number} y the point in `from`
 * @param {number} guessX @param {number} guessY where it may be in `to`
 * @param {Float32Array} found where it is: x and y
 * @returns {boolean} false where it was not found
 */
export function follow(from, to, x, y, guessX, guessY, found) {
  const top = 1 << (LEVELS - 1);
  let vx = (guessX - x) / top;
  let vy = (guessY - y) / top;
  for (let l = LEVELS - 1; l >= 0; l--) {
    const a = from.levels[l];
    const b = to.levels[l];
    const sx = (x + 0.5) / (1 << l) - 0.5;
    const sy = (y + 0.5) / (1 << l) - 0.5;
    const inside = cut(a, sx, sy);
    if (!inside) {
      if (l === 0) return false;
    } else {
      for (let step = 0; step < MAX_STEPS; step++) {
        const bx = sx + vx;
        const by = sy + vy;
        if (!(bx >= HALF && by >= HALF && bx < b.w - HALF - 1 && by < b.h - HALF - 1)) return false;
        difference(b, bx, by);
        const { xx, xy, yy, det, ex, ey } = sums;
        const dx = (yy * ex - xy * ey) / det;
        const dy = (xx * ey - xy * ex) / det;
        vx += dx;
        vy += dy;
        if (dx * dx + dy * dy < SETTLED) break;
      }
    }
    if (l > 0) {
      vx *= 2;
      vy *= 2;
    }
  }
  found[0] = x + vx;
  found[1] = y + vy;
  return Math.abs(vx) < FARTHEST && Math.abs(vy) < FARTHEST;
}

// Sums over the window that `cut` and `difference` leave here
const sums = { xx: 0, xy: 0, yy: 0, det: 0, ex: 0, ey: 0 };

/**
 * Read the window around a point with its gradients; false at the edge and on plain surfaces.
 * @param {Level} level @param {number} x @param {number} y
 */
function cut({ d, w, h }, x, y) {
  const margin = HALF + 1;
  if (!(x >= margin && y >= margin && x < w - margin - 1 && y < h - margin - 1)) return false;
  const xi = x | 0;
  const yi = y | 0;
  const fx = x - xi;
  const fy = y - yi;
  const w00 = (1 - fx) * (1 - fy);
  const w10 = fx * (1 - fy);
  const w01 = (1 - fx) * fy;
  const w11 = fx * fy;
  for (let j = 0, k = 0; j < PADDED; j++) {
    let i = (yi + j - margin) * w + xi - margin;
    for (let c = 0; c < PADDED; c++, k++, i++)
      patch[k] = w00 * d[i] + w10 * d[i + 1] + w01 * d[i + w] + w11 * d[i + w + 1];
  }
  let xx = 0;
  let xy = 0;
  let yy = 0;
  for (let j = 1, k = 0; j <= SIDE; j++) {
    for (let i = 1; i <= SIDE; i++, k++) {
      const q = j * PADDED + i;
      const dx = (patch[q + 1] - patch[q - 1]) * 0.5;
      const dy = (patch[q + PADDED] - patch[q - PADDED]) * 0.5;
      value[k] = patch[q];
      slopeX[k] = dx;
      slopeY[k] = dy;
      xx += dx * dx;
      xy += dx * dy;
      yy += dy * dy;
    }
  }
  const det = xx * yy - xy * xy;
  const least = (xx + yy - Math.sqrt((xx - yy) * (xx - yy) + 4 * xy * xy)) * 0.5;
  if (least < MIN_TEXTURE || det < 1e-6) return false;
  sums.xx = xx;
  sums.xy = xy;
  sums.yy = yy;
  sums.det = det;
  return true;
}

/**
 * Sum the window's differences to another picture, weighted by its gradients.
 * @param {Level} level
 * @param {number} x
 * @param {number} y
 */
function difference({ d, w }, x, y) {
  const xi = Math.floor(x);
  const yi = Math.floor(y);
  const fx = x - xi;
  const fy = y - yi;
  const w00 = (1 - fx) * (1 - fy);
  const w10 = fx * (1 - fy);
  const w01 = (1 - fx) * fy;
  const w11 = fx * fy;
  let ex = 0;
  let ey = 0;
  for (let j = -HALF, k = 0; j <= HALF; j++) {
    let i = (yi + j) * w + xi - HALF;
    for (let c = 0; c < SIDE; c++, k++, i++) {
      const e = value[k] - (w00 * d[i] + w10 * d[i + 1] + w01 * d[i + w] + w11 * d[i + w + 1]);
      ex += e * slopeX[k];
      ey += e * slopeY[k];
    }
  }
  sums.ex = ex;
  sums.ey = ey;
}

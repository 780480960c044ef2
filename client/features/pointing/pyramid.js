/** Levels of a pyramid: the picture, its half and its quarter. */
export const LEVELS = 3;

/** One level of a pyramid. @typedef {{d: Float32Array, w: number, h: number}} Level */

/** A luma picture with its half and its quarter, in memory that is used again for the next picture. */
export class Pyramid {
  /** @type {Level[]} the whole picture first */
  levels = [];

  /** @param {number} width @param {number} height of the pictures, in pixels */
  constructor(width, height) {
    for (let l = 0; l < LEVELS; l++) {
      const w = width >> l;
      const h = height >> l;
      this.levels.push({ d: new Float32Array(w * h), w, h });
    }
  }

  /** @param {Uint8Array} luma one byte a pixel, row by row */
  fill(luma) {
    this.levels[0].d.set(luma);
    for (let l = 1; l < LEVELS; l++) halve(this.levels[l - 1], this.levels[l]);
  }
}

/** @param {Level} from @param {Level} to */
function halve({ d: s, w: sw }, { d, w, h }) {
  for (let y = 0, k = 0; y < h; y++) {
    for (let x = 0, i = 2 * y * sw; x < w; x++, k++, i += 2) {
      d[k] = (s[i] + s[i + 1] + s[i + sw] + s[i + sw + 1]) * 0.25;
    }
  }
}

/**
 * The luma between pixels.
 * @param {Level} level @param {number} x @param {number} y at least 0, and less than the side - 1
 */
export function sample({ d, w }, x, y) {
  const xi = x | 0;
  const yi = y | 0;
  const fx = x - xi;
  const i = yi * w + xi;
  const top = d[i] + (d[i + 1] - d[i]) * fx;
  const bottom = d[i + w] + (d[i + w + 1] - d[i + w]) * fx;
  return top + (bottom - top) * (y - yi);
}

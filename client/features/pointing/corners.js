/** Points that can be followed: Shi-Tomasi corners, spread over a rectangle. */

/** @typedef {import("./pyramid.js").Level} Level */

/** Corners of one box */
export const MAX_CORNERS = 40;
const MAX_CELLS = 4 * MAX_CORNERS;
// Pixels from the picture's edge
const MARGIN = 5;
const MIN_STRENGTH = 300;
// A larger rectangle is read at every second pixel.
const MAX_DENSE = 12_000;

const strength = new Float32Array(MAX_CELLS);
const cornerX = new Float32Array(MAX_CELLS);
const cornerY = new Float32Array(MAX_CELLS);
const order = new Uint8Array(MAX_CELLS);

/**
 * @param {Level} level the whole picture
 * @param {number} left @param {number} top @param {number} right @param {number} bottom
 * @param {Float32Array} found x and y of up to MAX_CORNERS points, the strongest first
 * @returns {number} how many
 */
export function corners({ d, w, h }, left, top, right, bottom, found) {
  const x0 = Math.max(MARGIN, Math.floor(left));
  const y0 = Math.max(MARGIN, Math.floor(top));
  const x1 = Math.min(w - MARGIN - 1, Math.floor(right));
  const y1 = Math.min(h - MARGIN - 1, Math.floor(bottom));
  if (!(x1 > x0 && y1 > y0)) return 0;
  const cell = Math.max(3, Math.sqrt(((x1 - x0) * (y1 - y0)) / MAX_CORNERS));
  const columns = Math.ceil((x1 - x0) / cell);
  const cells = Math.min(MAX_CELLS, columns * Math.ceil((y1 - y0) / cell));
  const stride = (x1 - x0) * (y1 - y0) > MAX_DENSE ? 2 : 1;
  strength.fill(0, 0, cells);
  for (let y = y0; y < y1; y += stride) {
    const row = (((y - y0) / cell) | 0) * columns;
    for (let x = x0; x < x1; x += stride) {
      const at = row + (((x - x0) / cell) | 0);
      if (at >= cells) continue;
      const found = smallestEigenvalue(d, w, x, y);
      if (found > strength[at]) {
        strength[at] = found;
        cornerX[at] = x;
        cornerY[at] = y;
      }
    }
  }
  let count = 0;
  for (let at = 0; at < cells; at++) if (strength[at] > MIN_STRENGTH) order[count++] = at;
  order.subarray(0, count).sort((a, b) => strength[b] - strength[a]);
  const kept = Math.min(count, MAX_CORNERS);
  for (let k = 0; k < kept; k++) {
    found[2 * k] = cornerX[order[k]];
    found[2 * k + 1] = cornerY[order[k]];
  }
  return kept;
}

/**
 * Of the squared gradients over 3x3 pixels.
 * @param {Float32Array} d
 * @param {number} w
 * @param {number} x
 * @param {number} y
 */
function smallestEigenvalue(d, w, x, y) {
  let xx = 0;
  let xy = 0;
  let yy = 0;
  for (let j = -1; j <= 1; j++) {
    for (let q = (y + j) * w + x - 1, end = q + 3; q < end; q++) {
      const a = d[q + 1] - d[q - 1];
      const b = d[q + w] - d[q - w];
      xx += a * a;
      xy += a * b;
      yy += b * b;
    }
  }
  return xx + yy - Math.sqrt((xx - yy) * (xx - yy) + 4 * xy * xy);
}

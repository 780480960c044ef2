/**
 * The common movement of points: shift, scale and rotation, by RANSAC and then least squares over those that agree.
 *
 * A similarity is [a, b, x, y]: a point (u, v) goes to (a u - b v + x, b u + a v + y).
 */

// Pixels from where the others say that a point is
const TOLERANCE = 1.2;
const ROUNDS = 40;
// Points that are closer say little of scale and rotation.
const MIN_APART = 6;
const MIN_SCALE = 0.75;
const MAX_SCALE = 1.33;
const MAX_TURN = 0.3;
// Below this spread of the points, in squared pixels, only their shift is believed.
const MIN_SPREAD = 20;

/** @typedef {Float64Array} Similarity */

/**
 * @param {Float32Array} from x and y of each point before
 * @param {Float32Array} to and after
 * @param {number} count of points
 * @param {Similarity} found
 * @param {Uint8Array} agrees becomes 1 for each point that moved with it
 * @returns {number} how many did; 0 where no similarity was found
 */
export function similarity(from, to, count, found, agrees) {
  let best = 0;
  let seed = 7;
  for (let round = 0; round < ROUNDS && count >= 2; round++) {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    const i = 2 * ((seed >> 8) % count);
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    const j = 2 * ((seed >> 8) % count);
    const dx = from[j] - from[i];
    const dy = from[j + 1] - from[i + 1];
    const apart = dx * dx + dy * dy;
    if (apart < MIN_APART * MIN_APART) continue;
    const ex = to[j] - to[i];
    const ey = to[j + 1] - to[i + 1];
    const a = (dx * ex + dy * ey) / apart;
    const b = (dx * ey - dy * ex) / apart;
    if (a < MIN_SCALE || a > MAX_SCALE || Math.abs(b) > MAX_TURN) continue;
    const x = to[i] - a * from[i] + b * from[i + 1];
    const y = to[i + 1] - b * from[i] - a * from[i + 1];
    const agreeing = vote(from, to, count, a, b, x, y, null);
    if (agreeing > best) {
      best = agreeing;
      found[0] = a;
      found[1] = b;
      found[2] = x;
      found[3] = y;
    }
  }
  if (best === 0) return 0;
  vote(from, to, count, found[0], found[1], found[2], found[3], agrees);
  fit(from, to, count, best, found, agrees);
  return best;
}

/**
 * @param {Float32Array} from
 * @param {Float32Array} to
 * @param {number} count
 * @param {number} a
 * @param {number} b
 * @param {number} x
 * @param {number} y
 * @param {Uint8Array|null} agrees
 */
function vote(from, to, count, a, b, x, y, agrees) {
  let agreeing = 0;
  for (let k = 0; k < count; k++) {
    const u = from[2 * k];
    const v = from[2 * k + 1];
    const ex = a * u - b * v + x - to[2 * k];
    const ey = b * u + a * v + y - to[2 * k + 1];
    const near = ex * ex + ey * ey < TOLERANCE * TOLERANCE;
    if (near) agreeing++;
    if (agrees) agrees[k] = near ? 1 : 0;
  }
  return agreeing;
}

/**
 * @param {Float32Array} from
 * @param {Float32Array} to
 * @param {number} count
 * @param {number} agreeing
 * @param {Similarity} found
 * @param {Uint8Array} agrees
 */
function fit(from, to, count, agreeing, found, agrees) {
  let fromX = 0;
  let fromY = 0;
  let toX = 0;
  let toY = 0;
  for (let k = 0; k < count; k++) {
    if (!agrees[k]) continue;
    fromX += from[2 * k] / agreeing;
    fromY += from[2 * k + 1] / agreeing;
    toX += to[2 * k] / agreeing;
    toY += to[2 * k + 1] / agreeing;
  }
  let along = 0;
  let across = 0;
  let spread = 0;
  for (let k = 0; k < count; k++) {
    if (!agrees[k]) continue;
    const u = from[2 * k] - fromX;
    const v = from[2 * k + 1] - fromY;
    const x = to[2 * k] - toX;
    const y = to[2 * k + 1] - toY;
    along += u * x + v * y;
    across += u * y - v * x;
    spread += u * u + v * v;
  }
  const a = spread > MIN_SPREAD ? along / spread : 1;
  const b = spread > MIN_SPREAD ? across / spread : 0;
  found[0] = a;
  found[1] = b;
  found[2] = toX - a * fromX + b * fromY;
  found[3] = toY - b * fromX - a * fromY;
}

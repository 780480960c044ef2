/** The tracker's parts, each against pictures that were moved by a known motion. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_CORNERS, corners } from "../../../../client/features/pointing/corners.js";
import { follow } from "../../../../client/features/pointing/flow.js";
import { Pyramid } from "../../../../client/features/pointing/pyramid.js";
import { similarity } from "../../../../client/features/pointing/similarity.js";
import { OUTSIDE, Template } from "../../../../client/features/pointing/template.js";
import { numbers } from "./sequences.mjs";

const W = 160;
const H = 120;
const CENTRE = [W / 2, H / 2];
// Waves of 15 to 100 pixels in all directions: smooth, and nowhere the same
const random = numbers(11);
const WAVES = Array.from({ length: 24 }, () => {
  const [turn, length] = [random() * Math.PI, 15 + 85 * random() ** 2];
  return [(2 * Math.PI * Math.cos(turn)) / length, (2 * Math.PI * Math.sin(turn)) / length, 6.3 * random()];
});

/** A smooth picture seen through a motion: a similarity about the centre, as [a, b, x, y]. */
function picture([a, b, x, y], light = (luma) => luma) {
  const size = a * a + b * b;
  const luma = new Uint8Array(W * H);
  for (let py = 0, k = 0; py < H; py++) {
    for (let px = 0; px < W; px++, k++) {
      const [dx, dy] = [px - CENTRE[0] - x, py - CENTRE[1] - y];
      const u = (a * dx + b * dy) / size;
      const v = (a * dy - b * dx) / size;
      const wave = WAVES.reduce((sum, [fx, fy, phase]) => sum + Math.sin(fx * u + fy * v + phase), 0);
      luma[k] = Math.min(255, Math.max(0, Math.round(light(128 + 15 * wave))));
    }
  }
  const pyramid = new Pyramid(W, H);
  pyramid.fill(luma);
  return pyramid;
}

const STILL = [1, 0, 0, 0];
const MOVED = [1.03 * Math.cos(0.04), 1.03 * Math.sin(0.04), 5.3, -3.6];
const about = ([a, b, x, y], [px, py]) => {
  const [u, v] = [px - CENTRE[0], py - CENTRE[1]];
  return [a * u - b * v + x + CENTRE[0], b * u + a * v + y + CENTRE[1]];
};

test("corners are spread over the rectangle, strongest first, and lie inside it", () => {
  const found = new Float32Array(2 * MAX_CORNERS);
  const count = corners(picture(STILL).levels[0], 30, 20, 130, 100, found);
  assert.ok(count >= 25 && count <= MAX_CORNERS);
  const xs = [...found.subarray(0, 2 * count)].filter((_, k) => k % 2 === 0);
  const ys = [...found.subarray(0, 2 * count)].filter((_, k) => k % 2 === 1);
  assert.ok(Math.min(...xs) >= 30 && Math.max(...xs) < 130 && Math.max(...xs) - Math.min(...xs) > 70);
  assert.ok(Math.min(...ys) >= 20 && Math.max(...ys) < 100 && Math.max(...ys) - Math.min(...ys) > 50);
  assert.equal(corners(picture(STILL).levels[0], 90, 90, 20, 20, found), 0);
  assert.equal(corners(picture(STILL, () => 90).levels[0], 30, 20, 130, 100, found), 0);
});

test("the strongest corners are kept where there are more than are kept", () => {
  const level = new Pyramid(W, H).levels[0];
  // Faint squares, and strong ones to the right of them
  for (let y = 0; y < H; y++) {
    for (let x = 0; x < W; x++) level.d[y * W + x] = (x >> 3) % 2 && (y >> 3) % 2 ? (x < 80 ? 112 : 200) : 100;
  }
  const found = new Float32Array(2 * MAX_CORNERS);
  assert.equal(corners(level, 10, 10, 150, 110, found), MAX_CORNERS);
  for (let k = 0; k < 15; k++) assert.ok(found[2 * k] >= 78, `${found[2 * k]}`);
});

test("a point is followed to half a pixel, a far one too, and not over the edge", () => {
  const out = new Float32Array(2);
  const [from, to] = [picture(STILL), picture(MOVED)];
  for (const point of [[60, 50], [80, 60], [100, 75]]) {
    assert.ok(follow(from, to, ...point, ...point, out));
    const [x, y] = about(MOVED, point);
    assert.ok(Math.hypot(out[0] - x, out[1] - y) < 0.5, `${out} is not ${x},${y}`);
  }
  const far = picture([1, 0, 9, -6]);
  assert.ok(follow(from, far, 80, 60, 80, 60, out));
  assert.ok(Math.hypot(out[0] - 89, out[1] - 54) < 0.15, `${out}`);
  assert.equal(follow(from, to, 2, 2, 2, 2, out), false);
  assert.equal(follow(from, to, 80, 60, NaN, 60, out), false);
  assert.equal(follow(from, picture(STILL, () => 90), 80, 60, 500, 60, out), false);
});

test("how points moved together is found among many that did not", () => {
  const [from, to] = [new Float32Array(80), new Float32Array(80)];
  const [found, agrees] = [new Float64Array(4), new Uint8Array(40)];
  for (let k = 0; k < 40; k++) {
    from[2 * k] = 100 * random();
    from[2 * k + 1] = 80 * random();
    const [a, b, x, y] = MOVED;
    const stray = k % 2 ? 20 + 30 * random() : 0;
    to[2 * k] = a * from[2 * k] - b * from[2 * k + 1] + x + stray;
    to[2 * k + 1] = b * from[2 * k] + a * from[2 * k + 1] + y - stray;
  }
  assert.equal(similarity(from, to, 40, found, agrees), 20);
  MOVED.forEach((value, k) => assert.ok(Math.abs(found[k] - value) < 1e-3, `${found}`));
  assert.deepEqual([...agrees].map((agreed, k) => agreed === (k % 2 ? 0 : 1)), new Array(40).fill(true));
  assert.equal(similarity(from, to, 1, found, agrees), 0);
  assert.equal(similarity(from.fill(3), to, 40, found, agrees), 0);
});

test("the first look is found where it lies now, under other light", () => {
  const template = new Template();
  template.take(picture(STILL), ...CENTRE, 50, 40);
  const now = picture(MOVED, (luma) => 0.7 * luma + 20);
  const pose = Float64Array.from([1, 0, CENTRE[0] + 4, CENTRE[1] - 3]);
  assert.ok(template.compare(now, pose).correlation < 0.95);
  template.align(now, pose, 8);
  const { correlation, parts, gain } = template.compare(now, pose);
  assert.ok(correlation > 0.99 && parts > 0.95, `${correlation} ${parts}`);
  assert.ok(Math.abs(gain - 0.7) < 0.05);
  const [x, y] = about(MOVED, CENTRE);
  const truth = [MOVED[0], MOVED[1], x, y];
  truth.forEach((value, k) => assert.ok(Math.abs(pose[k] - value) < (k < 2 ? 0.01 : 0.2), `${pose}`));
});

test("what hides half of it leaves half of its parts, and outside the picture it is told", () => {
  const template = new Template();
  const whole = picture(STILL);
  template.take(whole, ...CENTRE, 48, 48);
  const level = whole.levels[0].d;
  const luma = Uint8Array.from(level, (value, k) => (k % W < CENTRE[0] ? 30 + (k % 7) : value));
  const covered = new Pyramid(W, H);
  covered.fill(luma);
  const pose = Float64Array.from([1, 0, ...CENTRE]);
  assert.ok(Math.abs(template.compare(covered, pose).parts - 0.5) < 0.13);
  assert.equal(template.compare(covered, Float64Array.from([1, 0, -30, 60])).correlation, OUTSIDE);
  const held = Float64Array.from([1, 0, -30, 60]);
  template.align(covered, held, 4);
  assert.deepEqual([...held], [1, 0, -30, 60]);
});

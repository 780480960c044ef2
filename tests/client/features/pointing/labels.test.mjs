/** The places of labels: beside their boxes, and none on another one. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { labelPlaces } from "../../../../client/features/pointing/labels.js";

const AREA = { top: 62, bottom: 578 };
const LABEL = { width: 90, height: 24 };

/** A box with a label; 100 pixels wide and high. */
function box(left, top, more = {}) {
  return { left, top, width: 100, height: 100, beyond: 0, side: "left", label: LABEL, ...more };
}

test("one alone: above, else below, else in the picture", () => {
  assert.deepEqual(labelPlaces([box(50, 200)], AREA), ["above"]);
  assert.deepEqual(labelPlaces([box(50, 70)], AREA), ["below"]);
  assert.deepEqual(labelPlaces([box(50, 0, { height: 600 })], AREA), ["within"]);
});

test("boxes apart have their labels above", () => {
  assert.deepEqual(labelPlaces([box(50, 200), box(250, 200), box(50, 400)], AREA), ["above", "above", "above"]);
});

test("equal boxes: each place once, and then none", () => {
  const equal = Array.from({ length: 8 }, () => box(50, 200));
  assert.deepEqual(labelPlaces(equal, AREA), ["above", "below", "inside", ...Array(5).fill("none")]);
});

test("a box right below another one has its label elsewhere", () => {
  // The label of the lower one would stand on that which the upper one has below it.
  assert.deepEqual(labelPlaces([box(50, 70), box(50, 200)], AREA), ["below", "below"]);
});

test("the side and the picture's edge count", () => {
  const right = { side: "right" };
  // From x = 13 to 103, and from 97 to 187; moved by 20: from 77 to 167
  const left = box(0, 200, { ...right, width: 100 });
  assert.deepEqual(labelPlaces([left, box(84, 200, right)], AREA), ["above", "below"]);
  assert.deepEqual(labelPlaces([left, box(100, 200, right)], AREA), ["above", "above"]);
  assert.deepEqual(labelPlaces([left, box(100, 200, { ...right, beyond: 20 })], AREA), ["above", "below"]);
});

test("a label without a size is on no other one", () => {
  const lost = box(90, 190, { label: { width: 0, height: 0 } });
  assert.deepEqual(labelPlaces([lost, box(50, 200), lost], AREA), ["above", "above", "above"]);
});

test("a box that is too low for a label has none in it", () => {
  const low = () => box(50, 200, { height: 30 });
  assert.deepEqual(labelPlaces([low(), low(), low()], AREA), ["above", "below", "none"]);
});

/** A box follows its object while that moves, hides and goes: each class of scenes has to keep its figures. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { figures, follow } from "./measure.mjs";

const SEEDS = [1, 2];
const SECONDS = 7;

/** @param {string} kind */
function run(kind) {
  return SEEDS.map((seed) => follow(kind, seed, { seconds: SECONDS }));
}

/** IoU medians at 1 s, 3 s and the end */
const LEAST = {
  still: [0.97, 0.97, 0.97],
  pan: [0.97, 0.97, 0.92],
  zoom: [0.97, 0.97, 0.97],
  shake: [0.97, 0.97, 0.92],
  dark: [0.97, 0.97, 0.97],
  moving: [0.9, 0.9, 0.9],
  blurred: [0.88, 0.93, 0.9],
  half: [0.92, 0.92, 0.97],
};

for (const [kind, least] of Object.entries(LEAST)) {
  test(`${kind}: the box stays on its object`, () => {
    const found = figures(run(kind));
    least.forEach((iou, m) => assert.ok(found.iou[m] >= iou, `IoU ${found.iou}`));
    assert.equal(found.lost, 0);
    assert.ok(found.right >= 0.965, `right ${found.right}`);
    assert.ok(found.shown >= (kind === "half" ? 0.85 : 0.95), `shown ${found.shown}`);
  });
}

test("hidden: the box goes within two pictures, and comes back on its object", () => {
  const runs = run("hidden");
  for (const { ghostMs, unseen, state } of runs) {
    assert.ok(unseen > 15);
    assert.ok(ghostMs <= 134, `a ghost of ${ghostMs} ms`);
    assert.equal(state, "shown");
  }
  assert.ok(figures(runs).right >= 0.965);
});

for (const kind of ["taken", "twins"]) {
  test(`${kind}: the box goes within a picture of its object, and never to anything else`, () => {
    for (const { ghostMs, unseen, state, right, shown } of run(kind)) {
      assert.ok(unseen > 30);
      assert.ok(ghostMs <= 67, `a ghost of ${ghostMs} ms`);
      assert.equal(state, "gone");
      assert.ok(right / shown >= 0.965);
    }
  });
}

test("turning out of the plane: what is shown is right, or the box says that it is lost", () => {
  const runs = run("turning");
  assert.ok(figures(runs).right >= 0.965);
  assert.ok(figures(runs).lost > 0);
});

import assert from "node:assert/strict";
import { test } from "node:test";
import { inside, square } from "../../../../client/features/pointing/pickview.js";

const close = (found, wanted) => found.forEach((edge, n) => assert.ok(Math.abs(edge - wanted[n]) < 1e-9, `${found}`));

test("the square about a place is one in pixels, and stays in the picture", () => {
  // 1600x900: a tenth of the height is a sixteenth of nine tenths of the width
  close(square({ x: 0.5, y: 0.5 }, 16 / 9, 0.3), [0.5 - 0.15 * 9 / 16, 0.35, 0.5 + 0.15 * 9 / 16, 0.65]);
  close(square({ x: 0.5, y: 0.5 }, 9 / 16, 0.3), [0.35, 0.5 - 0.15 * 9 / 16, 0.65, 0.5 + 0.15 * 9 / 16]);
  close(square({ x: 0, y: 1 }, 1, 0.3), [0, 0.7, 0.3, 1]);
});

test("a part is cut at the edges, and never smaller than the server takes", () => {
  close(inside([-0.5, 0.2, 0.4, 1.2]), [0, 0.2, 0.4, 1]);
  for (const box of [[0.5, 0.5, 0.5, 0.5], [1, 1, 1.3, 1.3], [-0.3, 0, 0.001, 0.001]]) {
    const [x1, y1, x2, y2] = inside(box);
    assert.ok(x2 - x1 >= 0.02 - 1e-12 && y2 - y1 >= 0.02 - 1e-12 && x1 >= 0 && x2 <= 1 && y1 >= 0 && y2 <= 1, `${box}`);
  }
});

/** From an answer's boxes to the screen: exact to a pixel; pictures kept from a question on; the time of a frame. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { direction, partsOf, places, shownPicture, toElement, toPicture } from "../../../../client/core/page/picture.js";
import { frameTime } from "../../../../client/features/pointing/marks.js";
import { shrink, smallSize } from "../../../../client/features/pointing/readback.js";
import { MAX_PICTURES, Recent } from "../../../../client/features/pointing/recent.js";

let seed = 7;
const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
const whole = (low, high) => Math.floor(low + random() * (high - low + 1));
const close = (a, b, off = 0.001) => assert.ok(Math.abs(a - b) <= off, `${a} is not ${b}`);

test("a box lies on its pixels, for every size and rotation of camera and page", () => {
  for (let n = 0; n < 3000; n++) {
    const camera = { width: whole(96, 4096), height: whole(96, 4096) };
    const element = { width: whole(60, 2600), height: whole(60, 2600) };
    const how = { whole: random() < 0.5, mirrored: random() < 0.5 };
    const shown = shownPicture(element, camera, how);
    // By the definition of object-fit: one scale for both sides, the picture's middle on the element's.
    const scale = (how.whole ? Math.min : Math.max)(element.width / camera.width, element.height / camera.height);
    const onScreen = (x, y) => [
      element.width / 2 + (how.mirrored ? -1 : 1) * (x - camera.width / 2) * scale,
      element.height / 2 + (y - camera.height / 2) * scale,
    ];
    const [x1, x2] = [whole(0, camera.width), whole(0, camera.width)].sort((a, b) => a - b);
    const [y1, y2] = [whole(0, camera.height), whole(0, camera.height)].sort((a, b) => a - b);
    const frame = { source_width: camera.width, source_height: camera.height };
    const [{ box }] = partsOf([{ label: "it", box: [x1, y1, x2, y2] }], frame);
    const placed = toElement(box, shown);
    const corners = [onScreen(x1, y1), onScreen(x2, y2)];
    close(placed.left, Math.min(corners[0][0], corners[1][0]), 0.01);
    close(placed.top, corners[0][1], 0.01);
    close(placed.left + placed.width, Math.max(corners[0][0], corners[1][0]), 0.01);
    close(placed.top + placed.height, corners[1][1], 0.01);
    // And back, to within a pixel of the camera
    const back = toPicture({ x: placed.left + placed.width / 2, y: placed.top + placed.height / 2 }, shown);
    close(back.x * camera.width, (x1 + x2) / 2, 0.5);
    close(back.y * camera.height, (y1 + y2) / 2, 0.5);
  }
});

test("without a picture or a place for it nothing is shown", () => {
  assert.equal(shownPicture({ width: 0, height: 5 }, { width: 4, height: 3 }, { whole: true }), null);
  assert.equal(shownPicture({ width: 5, height: 5 }, { width: 0, height: 0 }, { whole: true }), null);
  const shown = shownPicture({ width: 200, height: 100 }, { width: 100, height: 100 }, { whole: true });
  assert.equal(toPicture({ x: 10, y: 50 }, shown), null);
});

test("a point gets a box around it, and boxes stay within the picture", () => {
  const frame = { source_width: 1280, source_height: 720 };
  const [point, wide] = partsOf([{ label: "", point: [640, 360] }, { label: "b", box: [-5, 0, 2000, 720] }], frame);
  assert.deepEqual(point, { label: "Found", box: [604 / 1280, 324 / 720, 676 / 1280, 396 / 720], unsure: false });
  assert.deepEqual(wide.box, [0, 0, 1, 1]);
  assert.deepEqual(partsOf([{ label: "neither" }], frame), []);
});

test("a box is told as a direction, as its viewer sees it", () => {
  assert.equal(direction([0, 0, 0.2, 0.2]), "left, upper third");
  assert.equal(direction([0, 0, 0.2, 0.2], true), "right, upper third");
  assert.equal(direction([0.4, 0.8, 0.6, 1]), "middle, lower third");
  assert.equal(direction([0.7, 0.4, 0.9, 0.6]), "right, halfway up");
  assert.equal(direction([0.4, 0.4, 0.6, 0.6]), "in the middle");
  const frame = { source_width: 100, source_height: 100 };
  assert.deepEqual(places([{ label: "10 mm spanner", box: [0, 0, 20, 20] }], frame), ["10 mm spanner: left, upper third."]);
  const guesses = [0.59, 0.6].map((confidence) => ({ label: "nut", box: [0, 0, 20, 20], confidence }));
  assert.deepEqual(places(guesses, frame), ["Nut, not sure: left, upper third.", "Nut: left, upper third."]);
});

test("small pictures have the camera's shape and at most 57,600 pixels", () => {
  assert.deepEqual(smallSize(1280, 720), { width: 320, height: 180 });
  for (let n = 0; n < 500; n++) {
    const [width, height] = [whole(160, 4096), whole(160, 4096)];
    const size = smallSize(width, height);
    if (!size) continue;
    assert.ok(size.width * size.height <= 57_600 && size.width >= 32 && size.height >= 32);
    close(size.width / size.height / (width / height), 1, 0.04);
  }
  assert.equal(smallSize(4000, 40), null);
});

test("a frame is shrunk to its luma, in each format that browsers have", () => {
  const [width, height] = [8, 6];
  const ramp = (x, y) => 10 * x + 3 * y;
  for (const format of ["I420", "NV12", "RGBA", "BGRX"]) {
    const step = format.length === 4 && /RGB|BGR/.test(format) ? 4 : 1;
    const stride = step * 16 + 5;
    const bytes = new Uint8Array(7 + stride * 12);
    for (let y = 0; y < 12; y++) for (let x = 0; x < 16; x++) for (let k = 0; k < step; k++) bytes[7 + y * stride + x * step + k] = ramp(x, y);
    const luma = new Uint8Array(width * height);
    assert.equal(shrink(bytes, { offset: 7, stride }, format, 16, 12, luma, width, height), true);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) close(luma[y * width + x], ramp(2 * x + 0.5, 2 * y + 0.5), 1);
  }
  // Blue counts least.
  const blue = new Uint8Array([200, 0, 0, 255]);
  const one = new Uint8Array(1);
  shrink(blue, { offset: 0, stride: 4 }, "BGRA", 1, 1, one, 1, 1);
  assert.equal(one[0], (200 * 29) >> 8);
  assert.equal(shrink(blue, { offset: 0, stride: 4 }, "P010", 1, 1, one, 1, 1), false);
});

const picture = (value) => new Uint8Array(64 * 36).fill(value);

test("pictures are kept from the question on, however long the answer takes", () => {
  const recent = new Recent();
  for (let n = 0; n < 1000; n++) {
    assert.equal(recent.put(picture(n % 256), 64, 36, 1000 + 80 * n), true);
    if (n === 3) recent.from(1000 + 80 * 2);
    assert.ok(recent.length <= MAX_PICTURES);
  }
  const kept = recent.take(1000 + 160);
  assert.equal(kept[0].capturedAt, 1160);
  assert.equal(kept[0].luma[5], 2);
  assert.equal(kept.at(-1).capturedAt, 1000 + 80 * 999);
  assert.equal(recent.length, 0);
  // None is repeated, and the newest are without gaps.
  for (let n = 1; n < kept.length; n++) assert.ok(kept[n].capturedAt > kept[n - 1].capturedAt);
  assert.ok(kept.slice(-40).every(({ capturedAt }, n, all) => n === 0 || capturedAt - all[n - 1].capturedAt === 80));
  assert.ok(recent.dropped > 0);
});

test("a frame that is not among them has no pictures", () => {
  const recent = new Recent();
  for (let n = 0; n < 10; n++) recent.put(picture(n), 64, 36, 1000 + 80 * n);
  assert.equal(recent.put(picture(1), 64, 36, 1000 + 80 * 9 + 20), false);
  assert.deepEqual(recent.take(300), []);
  assert.equal(recent.take(1400).length, 5);
});

test("a camera that is turned begins anew", () => {
  const recent = new Recent();
  recent.put(picture(1), 64, 36, 1000);
  recent.put(picture(2), 36, 64, 1100);
  assert.deepEqual([recent.length, recent.width, recent.height], [1, 36, 64]);
  recent.put(picture(3), 36, 64, 900);
  assert.equal(recent.length, 1);
  assert.throws(() => recent.put(picture(1), 640, 360, 2000), RangeError);
});

test("a frame's time is the server's word where it can be true", () => {
  const frame = (captured_at, age_ms) => ({ captured_at, age_ms });
  assert.equal(frameTime(frame(1050, 30), 1000, 1100), 1050);
  assert.equal(frameTime(frame(9_000_000, 30), 1000, 1100), 1070);
  assert.equal(frameTime(frame(10, 30), 1000, 1100), 1070);
});

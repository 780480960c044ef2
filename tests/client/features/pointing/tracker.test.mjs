/** The tracker holds pictures and boxes, within bounds. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Boxes } from "../../../../client/features/pointing/boxes.js";
import { Pyramid, sample } from "../../../../client/features/pointing/pyramid.js";
import { KEPT_MS, MAX_PIXELS, Ring } from "../../../../client/features/pointing/ring.js";
import { MAX_BOXES, Tracker } from "../../../../client/features/pointing/tracker.js";
import { overlap } from "./measure.mjs";
import { HEIGHT, Sequence, WIDTH } from "./sequences.mjs";

const grey = (value = 100, pixels = WIDTH * HEIGHT) => new Uint8Array(pixels).fill(value);

test("a pyramid's levels are means of four, and a place between pixels is between their luma", () => {
  const pyramid = new Pyramid(4, 4);
  pyramid.fill(Uint8Array.from([0, 4, 8, 8, 4, 8, 8, 8, 0, 0, 100, 100, 0, 0, 100, 100]));
  assert.deepEqual([...pyramid.levels[1].d], [4, 8, 0, 100]);
  assert.deepEqual([...pyramid.levels[2].d], [28]);
  assert.equal(sample(pyramid.levels[0], 0.5, 0), 2);
  assert.equal(sample(pyramid.levels[0], 0, 0.25), 1);
});

test("the ring keeps three seconds, in bounded memory, however many pictures come", () => {
  const ring = new Ring(WIDTH, HEIGHT);
  for (let t = 0; t < 20_000; t += 20) ring.put(grey(t % 256), t);
  assert.ok(ring.time(ring.next - 1) - ring.time(ring.first) <= KEPT_MS);
  assert.ok(ring.time(ring.next - 1) - ring.time(ring.first) >= KEPT_MS - 61);
  assert.ok(ring.bytes <= 51 * MAX_PIXELS);
  assert.equal(ring.dropped, 666);
  for (let n = ring.first; n < ring.next; n++) assert.equal(ring.luma(n)[0], ring.time(n) % 256);
});

test("the ring gives the picture nearest to a time, and none where it has none", () => {
  const ring = new Ring(WIDTH, HEIGHT);
  assert.equal(ring.at(0), -1);
  for (let t = 1000; t <= 5000; t += 100) ring.put(grey(), t);
  assert.equal(ring.time(ring.at(3460)), 3500);
  assert.equal(ring.time(ring.at(5200)), 5000);
  assert.equal(ring.at(5300), -1);
  assert.equal(ring.at(1000), -1);
});

test("pictures out of turn are dropped, and another clock begins anew", () => {
  const ring = new Ring(WIDTH, HEIGHT);
  for (const t of [NaN, 9000, 9100, 9050, 9100, NaN]) ring.put(grey(), t);
  assert.deepEqual([ring.next - ring.first, ring.dropped], [2, 4]);
  assert.ok(ring.put(grey(), 100));
  assert.equal(ring.next - ring.first, 1);
});

test("sizes that are not taken are named", () => {
  for (const [w, h] of [[321, 180], [16, 180], [100.5, 100], [NaN, 9]]) {
    assert.throws(() => new Ring(w, h), /A picture of .* was given; sides of at least 32, at most 57600 pixels/);
  }
  assert.throws(() => new Ring(WIDTH, HEIGHT).put(grey(1, 9), 0), /320x180 with 9 bytes/);
});

/** A tracker that has seen some seconds of a sequence. */
function watched(kind = "pan", seconds = 2, rate = 15) {
  const sequence = new Sequence(kind, 3);
  const tracker = new Tracker(WIDTH, HEIGHT);
  for (let n = 0; n <= seconds * rate; n++) tracker.frame(sequence.draw(n / rate), (n * 1000) / rate);
  return { sequence, tracker };
}

test("a box about a past frame is carried to now, in turns of bounded work", () => {
  const { sequence, tracker } = watched();
  assert.ok(tracker.addBox({ id: 7, box: sequence.truth(0), capturedAt: 0, label: "cup" }));
  let turns = 1;
  while (tracker.advance(10)) {
    assert.deepEqual(tracker.boxes(), []);
    turns++;
  }
  assert.equal(turns, 4);
  const [box] = tracker.boxes();
  assert.deepEqual([box.id, box.label, box.state, box.capturedAt, box.at], [7, "cup", "shown", 0, 2000]);
  assert.ok(overlap(box.box, sequence.truth(2)) > 0.97);
  assert.ok(overlap(box.box, sequence.truth(0)) < 0.9);
});

test("boxes on the newest picture stay there while another is carried", () => {
  const { sequence, tracker } = watched();
  tracker.addBox({ id: 1, box: sequence.truth(2), capturedAt: 2000, label: "" });
  tracker.advance(100);
  tracker.addBox({ id: 2, box: sequence.truth(0), capturedAt: 0, label: "" });
  tracker.frame(sequence.draw(2.1), 2100);
  assert.ok(tracker.advance(3));
  assert.deepEqual(tracker.boxes().map(({ id, at }) => [id, at]), [[1, 2100]]);
});

test("a box that the ring runs away from is looked for, and shown only where it is", () => {
  const { sequence, tracker } = watched("still");
  tracker.addBox({ id: 1, box: sequence.truth(0), capturedAt: 0, label: "" });
  tracker.advance(2);
  for (let n = 31; n <= 15 * 5.5; n++) tracker.frame(sequence.draw(n / 15), (n * 1000) / 15);
  tracker.advance(1000);
  const [box] = tracker.boxes();
  assert.equal(box.state, "shown");
  assert.ok(overlap(box.box, sequence.truth(0)) > 0.95);
});

test("what cannot be carried is gone at once, and told once", () => {
  const { tracker } = watched("still", 4);
  const box = [0.2, 0.2, 0.4, 0.4];
  const wrong = [[0, 0, NaN, 1], [0, 0, 1], "box", null, [0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.505, 0.9], [2, 2, 3, 3]];
  for (const bad of wrong) assert.equal(tracker.addBox({ id: 1, box: bad, capturedAt: 4000, label: "" }), false);
  for (const capturedAt of [0, 9000, NaN]) assert.equal(tracker.addBox({ id: 1, box, capturedAt, label: "" }), false);
  assert.deepEqual(tracker.boxes().map(({ state }) => state), new Array(10).fill("gone"));
  assert.deepEqual(tracker.boxes(), []);
});

test("eight boxes are carried; the one added first gives way", () => {
  const { tracker } = watched("still", 1);
  for (let id = 1; id <= 11; id++) {
    const left = 0.05 * id;
    tracker.addBox({ id, box: [left, 0.2, left + 0.3, 0.6], capturedAt: 1000, label: "x".repeat(500) });
  }
  tracker.advance(100);
  const boxes = tracker.boxes();
  assert.deepEqual(boxes.filter(({ state }) => state === "gone").map(({ id }) => id), [1, 2, 3]);
  assert.equal(boxes.length - 3, MAX_BOXES);
  assert.ok(boxes.every(({ label }) => label.length === 100));
  assert.equal(tracker.pushedOut, 3);
  tracker.removeBox(5);
  tracker.removeBox(99);
  assert.deepEqual(tracker.boxes().map(({ id, state }) => `${id} ${state}`)[0], "5 gone");
});

test("boxes that nobody asks for are bounded", () => {
  const { tracker } = watched("still", 1);
  for (let id = 0; id < 500; id++) tracker.addBox({ id, box: [0, 0, 1, 1], capturedAt: 1000, label: "" });
  assert.ok(tracker.boxes().length <= 40);
});

test("after a pause of the camera nothing is carried over", () => {
  const { sequence, tracker } = watched("still", 1);
  tracker.addBox({ id: 1, box: sequence.truth(0), capturedAt: 1000, label: "" });
  tracker.advance(100);
  tracker.boxes();
  tracker.frame(sequence.draw(9), 9000);
  assert.equal(tracker.advance(100), false);
  assert.deepEqual(tracker.boxes().map(({ id, state }) => `${id} ${state}`), ["1 gone"]);
});

test("a plain wall loses its box and nothing fails", () => {
  const tracker = new Tracker(180, 320);
  tracker.frame(grey(), 0);
  tracker.addBox({ id: 1, box: [0.2, 0.2, 0.8, 0.8], capturedAt: 0, label: "" });
  const states = new Set();
  for (let t = 100; t < 4000; t += 100) {
    tracker.frame(grey(100 + (t % 30)), t);
    tracker.advance(64);
    for (const { state, box } of tracker.boxes()) {
      states.add(state);
      assert.ok(box.every(Number.isFinite));
    }
  }
  assert.deepEqual([...states], ["shown", "fading", "lost", "gone"]);
});

/** Stands for the browser's Worker. */
class FakeWorker {
  sent = [];
  ended = false;
  #on = { message: [], error: [] };
  addEventListener(type, listener) {
    this.#on[type].push(listener);
  }
  postMessage(data, transfer = []) {
    this.sent.push(structuredClone(data, { transfer }));
  }
  tell(type, data) {
    for (const listener of this.#on[type]) listener({ data });
  }
  terminate() {
    this.ended = true;
  }
}

test("the page's side numbers boxes, uses memory again, and drops pictures while the worker is behind", () => {
  const worker = new FakeWorker();
  const boxes = new Boxes(() => worker);
  const told = [];
  const end = boxes.on((list) => told.push(list));
  const given = { box: [0, 0, 1, 1], capturedAt: 5, label: "cup" };
  assert.deepEqual([boxes.addBox(given), boxes.addBox(given)], [1, 2]);
  const luma = grey();
  for (let n = 0; n < 5; n++) boxes.frame(luma, n);
  assert.equal(boxes.dropped, 3);
  assert.equal(luma.length, WIDTH * HEIGHT);
  const [, , first] = worker.sent;
  worker.tell("message", { type: "frame", luma: first.luma });
  assert.equal(first.luma[5], 100);
  boxes.frame(grey(33), 9);
  assert.equal(first.luma.length, 0);
  assert.deepEqual([worker.sent[2].capturedAt, worker.sent[4].capturedAt, worker.sent[4].luma[5]], [0, 9, 33]);
  assert.deepEqual(worker.sent.map(({ type }) => type), ["add", "add", "frame", "frame", "frame"]);
  assert.throws(() => boxes.frame(luma, 1, 100, 100), RangeError);
  worker.tell("message", { type: "boxes", boxes: [{ id: 1 }] });
  worker.tell("error", null);
  assert.ok(boxes.failed);
  end();
  worker.tell("message", { type: "boxes", boxes: [{ id: 2 }] });
  assert.deepEqual(told, [[{ id: 1 }], []]);
  boxes.removeBox(1);
  boxes.close();
  assert.ok(worker.ended);
});

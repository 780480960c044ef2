/** The camera's sender: idle and awake, each change at once and one at a time, and browsers that do not follow. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { SenderControl, settingAt } from "../../../../client/core/live/sender.js";
import { still } from "../../time.mjs";

const profile = (max_framerate, max_bitrate) =>
  ({ max_framerate, max_bitrate, degradation_preference: "maintain-resolution", content_hint: "detail" });
const plan = (ramp = [], awake_ms = 200, settle = []) =>
  ({ idle: profile(2, 100_000), awake: profile(30, 2_500_000), ramp, settle, awake_ms });

/** A sender as the browsers have it: parameters have to be fresh, and one call at a time. */
class FakeSender {
  calls = [];
  frames = 0;
  refuse = false;
  // Without encodings, as Firefox's
  bare = false;
  delay = 5;
  track = { contentHint: "" };
  #busy = false;
  #fresh = false;
  #kept = {};

  getParameters() {
    this.#fresh = true;
    return { encodings: this.bare ? [] : [{ ...this.#kept }] };
  }

  async setParameters({ encodings: [first] }) {
    if (this.#busy || !this.#fresh) throw new Error("not serial");
    if (this.refuse) throw new Error("refused");
    this.#busy = true;
    this.#fresh = false;
    this.calls.push({ ...first });
    await new Promise((resolve) => setTimeout(resolve, this.delay));
    this.#kept = first;
    this.#busy = false;
  }

  async getStats() {
    return new Map([["a", { type: "outbound-rtp", framesSent: this.frames }]]);
  }

  get rates() {
    return this.calls.map(({ maxFramerate }) => maxFramerate);
  }
}

/** A sender under control, and what it was limited to at the camera. */
function controlled(t, followed = plan(), change = {}) {
  const pass = still(t);
  const sender = Object.assign(new FakeSender(), change);
  const limits = [];
  const control = new SenderControl({ limitRate: async (rate) => void limits.push(rate) });
  control.attach(sender, followed);
  return { pass, sender, limits, control };
}

test("each step of the ramp, and of the way back, holds from its time on; the last one stays", () => {
  const ramp = [{ at_ms: 0, max_bitrate: 1000 }, { at_ms: 300, max_bitrate: 2000 }, { at_ms: 600, max_bitrate: 3000 }];
  const settle = [{ at_ms: 0, max_bitrate: 9000 }, { at_ms: 500, max_bitrate: 8000 }];
  for (const [awake, since, steps, back, ...wanted] of [
    [false, 0, ramp, [], 2, 100_000, Infinity],
    [false, 0, ramp, settle, 2, 9000, 500],
    [false, 500, ramp, settle, 2, 8000, Infinity],
    [false, Infinity, ramp, settle, 2, 8000, Infinity],
    [true, 0, ramp, [], 30, 1000, 300],
    [true, 299, ramp, [], 30, 1000, 300],
    [true, 300, ramp, [], 30, 2000, 600],
    [true, 9000, ramp, [], 30, 3000, Infinity],
    [true, 0, [], [], 30, 2_500_000, Infinity],
  ]) {
    const { setting, next } = settingAt(plan(steps, 200, back), awake, since);
    assert.deepEqual([setting.framerate, setting.bitrate, next], wanted);
  }
});

test("frame rates are whole and at least one, as Safari wants them; a sender without encodings and hint does as well", async (t) => {
  const settings = [0.1, 0.6, 2.4, 29.7].map((rate) => settingAt({ ...plan(), idle: profile(rate, 1000.5) }, false, 0).setting);
  assert.deepEqual(settings.map(({ framerate }) => framerate), [1, 1, 2, 30]);
  assert.ok(Number.isInteger(settings[0].bitrate));
  const { pass, sender } = controlled(t, plan(), { bare: true, track: {} });
  await pass(20);
  assert.deepEqual([sender.rates, sender.track], [[2], {}]);
});

test("the browser is called before wake() returns, so that a question sent right after it is behind it", async (t) => {
  const { pass, sender, control } = controlled(t);
  await pass(50);
  const before = sender.calls.length;
  control.wake();
  assert.deepEqual([sender.calls.length - before, sender.rates.at(-1), sender.track.contentHint], [1, 30, "detail"]);
});

test("many causes in a row are one change up and one down, each with fresh parameters, never two at a time", async (t) => {
  const { pass, sender, control } = controlled(t, plan([], 200));
  await pass(30);
  for (let n = 0; n < 10; n++) {
    control.wake();
    await pass(20);
  }
  assert.ok(control.awake);
  await pass(400);
  assert.deepEqual([sender.rates, control.awake], [[2, 30, 2], false]);
});

test("bits fall step by step after each wake, and not before anything woke it", async (t) => {
  const settle = [{ at_ms: 0, max_bitrate: 900_000 }, { at_ms: 60, max_bitrate: 400_000 }, { at_ms: 120, max_bitrate: 100_000 }];
  const { pass, sender, control } = controlled(t, plan([], 60, settle));
  await pass(250);
  for (let round = 0; round < 2; round++) {
    sender.calls.length = 0;
    control.wake();
    await pass(500);
    const steps = sender.calls.map(({ maxFramerate, maxBitrate }) => [maxFramerate, maxBitrate]);
    assert.deepEqual(steps, [[30, 2_500_000], [2, 900_000], [2, 400_000], [2, 100_000]]);
  }
});

test("changes that come while a call is under way are not queued up: the last one is applied", async (t) => {
  const { pass, sender, control } = controlled(t, plan(), { delay: 100 });
  for (const rate of [3, 4, 5, 6]) control.follow({ ...plan(), idle: profile(rate, 100_000) });
  await pass(350);
  assert.deepEqual(sender.rates, [2, 6]);
});

test("the server raises the camera for as long as it says, also beyond the usual time", async (t) => {
  const { pass, sender, control } = controlled(t, plan([], 50));
  await pass(20);
  control.follow({ ...plan([], 50), wake_ms: 300 });
  await pass(150);
  assert.ok(control.awake);
  await pass(300);
  assert.deepEqual([control.awake, sender.rates], [false, [2, 30, 2]]);
});

test("a browser that takes the parameters and sends 30 a second all the same gets the limit at its camera", async (t) => {
  const { pass, sender, limits, control } = controlled(t);
  setInterval(() => (sender.frames += limits.length ? 0 : 3), 100);
  await pass(2900);
  assert.deepEqual([control.method, limits], ["constraints", [2]]);
});

test("the camera stays at its full rate when neither parameters nor constraints work", async (t) => {
  t.mock.method(console, "debug", () => {});
  const { pass, sender, limits, control } = controlled(t, plan(), { refuse: true });
  setInterval(() => (sender.frames += 3), 100);
  await pass(5600);
  assert.deepEqual([control.method, limits], ["none", [2, 30]]);
});

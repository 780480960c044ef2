/** The way to a thing: rate, side and words of what is seen, in a test's own time. */
import assert from "node:assert/strict";
import test from "node:test";

import { Course, Teller } from "../../../../client/features/guidance/course.js";

/** @param {number} x @param {number} [y] @param {number} [side] @returns {[number, number, number, number]} a box around a place */
const around = (x, y = 0.5, side = 0.2) => [x - side / 2, y - side / 2, x + side / 2, y + side / 2];

/** The cue for a thing that stands still at a place. @param {number} x @param {number} [y] */
function still(x, y = 0.5) {
  const course = new Course();
  course.target({ state: "found", box: around(x, y) }, 1000);
  for (let at = 1080; at <= 1960; at += 80) course.moved(around(x, y), at, 1);
  return course.cue(2000);
}

test("tones come faster the nearer it is to the middle, and from its side", () => {
  const rates = [0.95, 0.8, 0.7, 0.62].map((x) => still(x).rate);
  assert.deepEqual([...rates].sort((a, b) => a - b), rates);
  assert.ok(still(0.5).rate >= 9.9);
  assert.ok(rates[0] < 2.5);
  assert.ok(still(0.9).pan > 0.7 && still(0.1).pan < -0.7);
  assert.equal(Math.round(10 * still(0.5).pan), 0);
});

test("its direction is one on a clock's face", () => {
  const hours = [[0.9, 0.5], [0.5, 0.9], [0.1, 0.5], [0.5, 0.1], [0.8, 0.33], [0.33, 0.8]].map(([x, y]) => still(x, y).hour);
  assert.deepEqual(hours, [3, 6, 9, 12, 2, 7]);
});

test("in the middle stays in the middle when a hand shakes", () => {
  const course = new Course();
  course.target({ state: "found", box: around(0.5) }, 1000);
  assert.equal(course.cue(1000).state, "middle");
  course.target({ state: "found", box: around(0.63) }, 1250);
  assert.equal(course.cue(1250).state, "middle");
  assert.equal(still(0.63).state, "found");
});

test("tones are about where it will be when the person hears them, words about where it is", () => {
  const course = new Course();
  course.target({ state: "found", box: around(0.9) }, 1000);
  // It comes to the middle at 0.8 of the picture a second.
  let x = 0.9;
  for (let at = 1080; at <= 1240; at += 80) course.moved(around((x -= 0.064)), at, 1);
  const cue = course.cue(1240);
  assert.equal(cue.hour, 3);
  assert.ok(cue.pan < 0.2, `${cue.pan}`);
  // Whoever hears that it is coming to the middle is given time to stop.
  for (let at = 1320; at <= 1640; at += 80) course.moved(around((x -= 0.064)), at, 1);
  assert.equal(course.cue(1640).pan, 0);
});

test("boxes of two looks differ without any motion", () => {
  const course = new Course();
  course.target({ state: "found", box: around(0.7) }, 1000);
  course.moved(around(0.7), 1080, 1);
  course.moved(around(0.76), 1160, 2);
  course.moved(around(0.76), 1240, 2);
  assert.ok(Math.abs(course.cue(1240).pan - 0.52) < 0.01);
});

test("it is lost on the side on which it left", () => {
  for (const [x, y, side, pan] of /** @type {const} */ ([[0.1, 0.5, "left", -1], [0.9, 0.5, "right", 1], [0.5, 0.1, "up", 0], [0.5, 0.9, "down", 0]])) {
    const course = new Course();
    course.target({ state: "found", box: around(x, y) }, 1000);
    course.target({ state: "lost", box: around(x, y) }, 2000);
    const cue = course.cue(2000);
    assert.deepEqual([cue.state, cue.side, cue.pan], ["lost", side, pan]);
    // Who has turned there for long has passed it.
    assert.equal(course.cue(4900).state, "lost");
    assert.equal(course.cue(5100).state, "looking");
  }
  // Before the server knows: it moves out of the picture, or nobody has seen it for long.
  const course = new Course();
  course.target({ state: "found", box: around(0.2) }, 1000);
  for (const [n, x] of [0.16, 0.1, 0.04].entries()) course.moved(around(x), 1080 + 80 * n, 1);
  assert.equal(course.cue(1400).state, "lost");
});

test("what was lost in the middle is looked for on both sides", () => {
  const course = new Course();
  course.target({ state: "found", box: around(0.5) }, 1000);
  for (let at = 1080; at <= 1960; at += 80) course.moved(around(0.5), at, 1);
  course.target({ state: "lost", box: around(0.5) }, 1000, 2000);
  assert.equal(course.cue(2000).state, "looking");
});

test("it is covered where it stood still and the page does not see it either", () => {
  /** @param {number} until the tracker follows it @param {number} [speed] of the picture a second */
  const lost = (until, speed = 0) => {
    const course = new Course();
    course.target({ state: "found", box: around(0.5) }, 1000);
    for (let at = 1080; at <= until; at += 80) course.moved(around(0.5 + (speed * (at - 1000)) / 1000), at, 1);
    course.target({ state: "lost", box: around(0.5) }, 1000, 2000);
    return course;
  };
  const course = lost(1480);
  assert.equal(course.cue(2000).state, "covered");
  assert.equal(course.cue(4900).state, "covered");
  // A hand would have gone by then.
  assert.equal(course.cue(5100).state, "looking");
  assert.equal(lost(1960).cue(2000).state, "looking");
  assert.notEqual(lost(1480, 0.5).cue(2000).state, "covered");
  assert.deepEqual(new Teller().next(lost(1480).cue(2000), 2000, 1), { id: "lead.covered" });
  // Found again, it is no more covered.
  course.target({ state: "found", box: around(0.5) }, 2500);
  assert.equal(course.cue(2500).state, "middle");
});

test("what is not found is said to be so, and what helps", () => {
  const teller = new Teller();
  const looking = new Course().cue(0);
  const said = [0, 5000, 9000, 18_000].map((now) => teller.next(looking, now, 2)?.id);
  assert.deepEqual(said, ["lead.looking", undefined, "lead.still_looking", "lead.still_looking"]);
});

test("another kind of thing is said at once, but not within two seconds", () => {
  const teller = new Teller();
  const looking = new Course().cue(0);
  assert.deepEqual(teller.next(looking, 0, 1), { id: "lead.looking" });
  teller.anew();
  assert.equal(teller.next(looking, 1000, 1), null);
  assert.deepEqual(teller.next(looking, 2000, 1), { id: "lead.looking" });
});

test("what one look says is heard, and not called found", () => {
  const course = new Course();
  course.target({ state: "maybe", box: around(0.8) }, 1000);
  const cue = course.cue(1000);
  assert.equal(cue.state, "maybe");
  assert.ok(cue.pan > 0.5);
  assert.equal(new Teller().next(cue, 1000, 3), null);
});

test("nothing sounds once it is there", () => {
  const course = new Course();
  course.target({ state: "there", box: around(0.5, 0.5, 0.6) }, 1000);
  assert.deepEqual([course.cue(1000).state, course.cue(1000).rate], ["there", 0]);
});

test("one sentence in two seconds, about what is so then", () => {
  const teller = new Teller();
  /** @type {[number, string|undefined][]} */
  const said = [];
  const xs = [0.9, 0.1, 0.5, 0.9, 0.1];
  for (let now = 0; now < 10_000; now += 100) {
    const sentence = teller.next(still(xs[Math.floor(now / 1000) % xs.length]), now, 2);
    if (sentence) said.push([now, `${sentence.id} ${sentence.hour ?? ""}`.trim()]);
  }
  assert.ok(said.length >= 4);
  for (const [n, [at]] of said.slice(1).entries()) assert.ok(at - said[n][0] >= 2000);
  assert.deepEqual(said[0], [0, "lead.at_hour 3"]);
  assert.deepEqual(said[1], [2000, "lead.middle"]);
});

test("how much of the picture it fills is said in plain words", () => {
  const said = [0.01, 0.1, 0.23, 0.5, 0.9].map((share) => new Teller().next({ ...still(0.9), share }, 0, 3)?.size);
  assert.deepEqual(said, ["small", "tenth", "quarter", "half", "most"].map((size) => `lead.size_${size}`));
  const teller = new Teller();
  const news = [0.2, 0.25, 0.3, 0.5].map((share, n) => teller.next({ ...still(0.9), share }, 3000 * n, 3) !== null);
  assert.deepEqual(news, [true, false, false, true]);
});

test("the four steps: nothing, what matters, directions, every change", () => {
  /** @param {0|1|2|3} level */
  const count = (level) => {
    const teller = new Teller();
    const cues = [still(0.9), still(0.9, 0.9), { ...still(0.9, 0.9), share: 0.3 }, still(0.5)];
    return cues.filter((cue, n) => teller.next(cue, 3000 * n, level)).length;
  };
  assert.deepEqual([count(0), count(1), count(2), count(3)], [0, 2, 3, 4]);
});

test("how far it is, is said where that is known, and again when it differs", () => {
  /** @param {number} level @param {number[]} metres one each three seconds @param {number} [x] */
  const said = (level, metres, x = 0.9) => {
    const teller = new Teller();
    return metres.map((far, n) => {
      const course = new Course();
      course.target({ state: "found", box: around(x), metres: far }, 3000 * n);
      const found = teller.next(course.cue(3000 * n), 3000 * n, /** @type {0|1|2|3} */ (level));
      return found && [found.id, found.far];
    });
  };
  assert.deepEqual(said(2, [0.4, 0.66, 0.75, 0.55, 0.5, 1.6, 2.4, 2.6, 4]), [
    ["lead.at_hour_far", "reach"],
    // A little more is no news.
    null,
    ["lead.at_hour_far", "arm"],
    null,
    ["lead.at_hour_far", "reach"],
    ["lead.at_hour_far", 2],
    null,
    null,
    ["lead.at_hour_far", 4],
  ]);
  assert.deepEqual(said(1, [0.4, 4], 0.5), [["lead.middle_far", "reach"], null]);
  assert.deepEqual(said(2, [0.4, 4], 0.5), [["lead.middle_far", "reach"], ["lead.middle_far", 4]]);
  // Nobody knows.
  assert.deepEqual(said(3, [0]), [["lead.at_hour", undefined]]);
});

test("what still holds is said again, but not with few words", () => {
  const lost = { ...still(0.9), state: /** @type {const} */ ("lost") };
  for (const [level, wanted] of /** @type {const} */ ([[1, 1], [2, 3]])) {
    const teller = new Teller();
    let count = 0;
    for (let now = 0; now < 20_000; now += 100) if (teller.next(lost, now, level)) count++;
    assert.equal(count, wanted);
  }
});

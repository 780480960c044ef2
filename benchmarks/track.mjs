/**
 * Boxes that go along with the picture, over all classes of scenes and many seeds: node benchmarks/track.mjs
 * [--seeds 13] [--rate 15] [--seconds 10]. Node 22 or newer.
 */
import { parseArgs } from "node:util";

import { Tracker } from "../client/features/pointing/tracker.js";
import { figures, follow } from "../tests/client/features/pointing/measure.mjs";
import { CLASSES, HEIGHT, Sequence, WIDTH } from "../tests/client/features/pointing/sequences.mjs";

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "13" },
    rate: { type: "string", default: "15" },
    seconds: { type: "string", default: "10" },
  },
});
const [seeds, rate, seconds] = [Number(values.seeds), Number(values.rate), Number(values.seconds)];

console.log(`${seeds} sequences of ${seconds} s a class, ${rate} pictures a second`);
console.log("| class | IoU median at 1, 3, last s | shown | shown right | longest ghost | not shown at the end |");
console.log("|---|---|---|---|---|---|");
for (const kind of CLASSES) {
  const runs = Array.from({ length: seeds }, (_, n) => follow(kind, n + 1, { rate, seconds }));
  const found = figures(runs);
  const iou = found.iou.map((value) => (Number.isNaN(value) ? "–" : value.toFixed(2))).join(", ");
  const unshown = runs.filter(({ state }) => state !== "shown").length;
  const percent = (/** @type {number} */ part) => `${(100 * part).toFixed(1)} %`;
  console.log(`| ${kind} | ${iou} | ${percent(found.shown)} | ${percent(found.right)} | ${Math.round(found.ghostMs)} ms | ${unshown} of ${seeds} |`);
}

/** Milliseconds of one call, the median of many. @param {() => void} call @param {number} [times] */
function cost(call, times = 200) {
  const found = [];
  for (let n = 0; n < times; n++) {
    const began = performance.now();
    call();
    found.push(performance.now() - began);
  }
  return found.sort((a, b) => a - b)[times >> 1];
}

const sequence = new Sequence("shake", 1);
const pictures = Array.from({ length: 45 }, (_, n) => sequence.draw(n / 15).slice());
const box = sequence.truth(0);
let number = 0;
const tracker = new Tracker(WIDTH, HEIGHT);
const put = () => tracker.frame(pictures[number % 15], (number++ * 1000) / 15);
const step = () => {
  put();
  while (tracker.advance(64));
};
const [without, one] = [cost(put), NaN].map((value, n) => {
  if (n === 0) return value;
  tracker.addBox({ id: 1, box, capturedAt: tracker.ring.time(tracker.ring.next - 1), label: "" });
  return cost(step);
});
for (let id = 2; id <= 8; id++) tracker.addBox({ id, box, capturedAt: tracker.ring.time(tracker.ring.next - 1), label: "" });
const eight = cost(step);
const carrying = cost(() => {
  const fresh = new Tracker(WIDTH, HEIGHT);
  pictures.forEach((luma, n) => fresh.frame(luma, (n * 1000) / 15));
  fresh.addBox({ id: 1, box: sequence.truth(1), capturedAt: 1000, label: "" });
  while (fresh.advance(64));
}, 30);
console.log(`CPU, ms: a picture ${without.toFixed(2)}, with one box ${one.toFixed(2)}, with eight ${eight.toFixed(2)}; a box of 2 s ago carried to now ${carrying.toFixed(1)}`);

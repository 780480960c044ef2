/** Follow the object of sequences with the page's tracker, and compare with the truth. */
import { Tracker } from "../../../../client/features/pointing/tracker.js";
import { HEIGHT, Sequence, WIDTH } from "./sequences.mjs";

/** Intersection over union. @param {number[]} a @param {number[]} b */
export function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  const area = (/** @type {number[]} */ r) => (r[2] - r[0]) * (r[3] - r[1]);
  return (w * h) / (area(a) + area(b) - w * h);
}

/**
 * @param {string} kind @param {number} seed @param {{rate?: number, seconds?: number}} [how] pictures a second
 * @returns one sequence: IoU at 1, 3 and the last second (null: not shown; undefined: not to be seen), pictures that were
 *   shown, those of them that were right, milliseconds that a box was shown after the object went, and whether it was
 *   shown at the end
 */
export function follow(kind, seed, { rate = 15, seconds = 10 } = {}) {
  const sequence = new Sequence(kind, seed);
  const tracker = new Tracker(WIDTH, HEIGHT);
  const count = Math.round(rate * seconds);
  const marks = [1, 3, seconds].map((at) => Math.min(count - 1, Math.round(at * rate)));
  /** @type {(number|null|undefined)[]} */
  const at = [];
  let [shown, right, ghosts, unseen] = [0, 0, 0, 0];
  let state = "";
  for (let n = 0; n < count; n++) {
    const t = n / rate;
    const luma = sequence.draw(t);
    tracker.frame(luma, t * 1000);
    if (n === 0) {
      const box = /** @type {[number, number, number, number]} */ (sequence.truth(0));
      tracker.addBox({ id: 1, box, capturedAt: 0, label: "it" });
    }
    while (tracker.advance(64));
    const [carried] = tracker.boxes();
    state = carried?.state ?? state;
    const truth = sequence.truth(t);
    const visible = carried?.state === "shown";
    const iou = truth && visible ? overlap(carried.box, truth) : null;
    if (visible) {
      shown++;
      if (iou !== null && iou >= 0.5) right++;
    }
    if (!truth) {
      unseen++;
      if (visible) ghosts++;
    }
    for (let m = 0; m < marks.length; m++) if (marks[m] === n) at[m] = truth ? iou : undefined;
  }
  return { kind, seed, at, shown, right, ghostMs: (ghosts * 1000) / rate, unseen, ghosts, count, state };
}

/** @param {(number|null|undefined)[]} values @returns {number} median of those that were shown; NaN without any */
export function median(values) {
  const sorted = values.filter((value) => typeof value === "number").sort((a, b) => a - b);
  return sorted.length > 0 ? sorted[sorted.length >> 1] : NaN;
}

/** Figures of a class. @param {ReturnType<typeof follow>[]} runs */
export function figures(runs) {
  const sum = (/** @type {(run: ReturnType<typeof follow>) => number} */ of) => runs.reduce((total, run) => total + of(run), 0);
  return {
    iou: [0, 1, 2].map((m) => median(runs.map(({ at }) => at[m]))),
    lost: runs.filter(({ at }) => at[2] === null).length,
    right: sum(({ right }) => right) / Math.max(1, sum(({ shown }) => shown)),
    shown: sum(({ shown, ghosts }) => shown - ghosts) / sum(({ count, unseen }) => count - unseen),
  };
}

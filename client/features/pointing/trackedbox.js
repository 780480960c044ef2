/** One box that is carried along: shown, fading, lost, found again, gone. */
import { MAX_CORNERS, corners } from "./corners.js";
import { follow } from "./flow.js";
import { similarity } from "./similarity.js";
import { OUTSIDE, Template } from "./template.js";

/** @typedef {import("./pyramid.js").Pyramid} Pyramid */
/** @typedef {"shown"|"fading"|"lost"|"gone"} State */

// Pixels that a corner may miss itself by when it is followed forward and back
const MAX_THERE_AND_BACK = 0.8;
// Corners without which the ring around the box is followed too; points and share of them that have to move together
const FEW_CORNERS = 6;
const MIN_INLIERS = 4;
const MIN_INLIER_SHARE = 0.35;
// An alignment to the first look is taken from this correlation on, within these bounds of scale and of the box's size.
const ALIGN_STEPS = 4;
const GOOD = 0.6;
const MAX_RESCALE = 0.1;
const MAX_SHIFT = 0.15;
// A picture is bad below these; a box fades after some of them, and is lost after more.
const POOR = 0.35;
const MIN_PARTS = 0.3;
// Counts twice: nothing there is like it.
const NOTHING_ALIKE = 0.2;
const FADES_AT = 3;
const LOST_AT = 6;
// Against its first size
const SMALLEST = 0.25;
const LARGEST = 4;
// A lost box is looked for this often, this long, this far around it (in boxes) and is shown only when it surely is it.
const SEARCH_EVERY_MS = 95;
const SEARCH_MS = 2000;
const SEARCH_RADIUS = 1.2;
const SEARCH_STEP = 0.1;
const SEARCH_ALIGN_STEPS = 8;
const FOUND = 0.7;
const FOUND_PARTS = 0.6;
const MIN_CANDIDATE = 0.4;
// Something beside it that is as like it as this, or nearly as like as what was found: nobody knows which of them it
// is, so it is found again only where it was. Looked for every so many pictures.
const ALIKE = 0.6;
const LIKENESS = 0.1;
const LOOK_BESIDE_EVERY = 15;
const RADIUS_BESIDE_ANOTHER = 0.4;
// Luma deviation without which nothing can be compared, or looked for
const MIN_DEVIATION = 4;
const MIN_DEVIATION_SEARCH = 8;

const before = new Float32Array(2 * MAX_CORNERS);
const after = new Float32Array(2 * MAX_CORNERS);
const agrees = new Uint8Array(MAX_CORNERS);
const there = new Float32Array(2);
const back = new Float32Array(2);
const motion = new Float64Array(4);
const aligned = new Float64Array(4);
const other = new Float64Array(4);

export class TrackedBox {
  /** @type {State} */
  state = "shown";

  #template = new Template();
  // See `Template`
  #pose = new Float64Array(4);
  #points = new Float32Array(2 * MAX_CORNERS);
  #count = 0;
  #around = false;
  #velocityX = 0;
  #velocityY = 0;
  #bad = 0;
  #lostAt = 0;
  #searchedAt = 0;
  // Something like it is near.
  #alike = false;
  #pictures = 0;

  /**
   * @param {Pyramid} pyramid the picture that the box is about
   * @param {number} left @param {number} top @param {number} right @param {number} bottom in its pixels
   */
  constructor(pyramid, left, top, right, bottom) {
    this.#pose.set([1, 0, (left + right) / 2, (top + bottom) / 2]);
    this.#template.take(pyramid, this.#pose[2], this.#pose[3], right - left, bottom - top);
    this.#seed(pyramid);
    this.#lookBeside(pyramid);
  }

  /**
   * Its upright box: left, top, right, bottom in pixels; the last one when it is lost.
   * @returns {[number, number, number, number]}
   */
  get edges() {
    const [a, b, x, y] = this.#pose;
    const scale = Math.hypot(a, b);
    const turn = (Math.abs(b) / scale) * 0.6;
    const w = (this.#template.width * scale) / 2;
    const h = (this.#template.height * scale) / 2;
    return [x - w - h * turn, y - h - w * turn, x + w + h * turn, y + h + w * turn];
  }

  /**
   * Carry it from one picture to the next.
   * @param {Pyramid} from
   * @param {Pyramid} to
   * @param {number} now when `to` was captured, ms
   */
  step(from, to, now) {
    if (this.state === "gone") return;
    if (this.state === "lost") {
      this.#search(to, now);
      return;
    }
    const moved = this.#follow(from, to);
    const fine = this.#hold(to, moved);
    if (this.#bad >= LOST_AT) this.lose(now);
    else this.state = this.#bad >= FADES_AT ? "fading" : "shown";
    if (fine && ++this.#pictures % LOOK_BESIDE_EVERY === 0) this.#lookBeside(to);
    if (this.state !== "lost" && ((fine && this.#count < MAX_CORNERS / 2) || this.#around)) this.#seed(to);
  }

  /** Forget where it went. @param {number} now ms */
  lose(now) {
    this.state = "lost";
    this.#lostAt = this.#searchedAt = now;
  }

  /** Move the pose as its corners did. @param {Pyramid} from @param {Pyramid} to */
  #follow(from, to) {
    let kept = 0;
    for (let k = 0; k < this.#count; k++) {
      const x = this.#points[2 * k];
      const y = this.#points[2 * k + 1];
      if (!follow(from, to, x, y, x + this.#velocityX, y + this.#velocityY, there)) continue;
      if (!follow(to, from, there[0], there[1], x, y, back)) continue;
      if (!(Math.abs(back[0] - x) + Math.abs(back[1] - y) < MAX_THERE_AND_BACK)) continue;
      before[2 * kept] = x;
      before[2 * kept + 1] = y;
      after[2 * kept] = there[0];
      after[2 * kept + 1] = there[1];
      kept++;
    }
    const inliers = kept >= MIN_INLIERS ? similarity(before, after, kept, motion, agrees) : 0;
    const moved = inliers >= Math.max(MIN_INLIERS, MIN_INLIER_SHARE * kept);
    const [a, b, x, y] = this.#pose;
    if (moved) {
      const [ma, mb, mx, my] = motion;
      this.#pose[0] = ma * a - mb * b;
      this.#pose[1] = mb * a + ma * b;
      this.#pose[2] = ma * x - mb * y + mx;
      this.#pose[3] = mb * x + ma * y + my;
      this.#velocityX = this.#pose[2] - x;
      this.#velocityY = this.#pose[3] - y;
    } else {
      this.#pose[2] += this.#velocityX;
      this.#pose[3] += this.#velocityY;
    }
    this.#count = 0;
    for (let k = 0; k < kept; k++) {
      if (moved && !agrees[k]) continue;
      this.#points[2 * this.#count] = after[2 * k];
      this.#points[2 * this.#count + 1] = after[2 * k + 1];
      this.#count++;
    }
    return moved;
  }

  /**
   * Hold it to the first look, which is never renewed, and judge the picture.
   * @param {Pyramid} to
   * @param {boolean} moved
   * @returns {boolean} it is there
   */
  #hold(to, moved) {
    const template = this.#template;
    const pose = this.#pose;
    const side = Math.max(template.width, template.height);
    let { correlation, parts } = template.compare(to, pose);
    aligned.set(pose);
    template.align(to, aligned, ALIGN_STEPS);
    const rescaled = Math.hypot(aligned[0], aligned[1]) / Math.hypot(pose[0], pose[1]);
    const shifted = Math.hypot(aligned[2] - pose[2], aligned[3] - pose[3]) / side;
    if (Math.abs(rescaled - 1) < MAX_RESCALE && shifted < MAX_SHIFT) {
      const better = template.compare(to, aligned);
      if (better.correlation > GOOD && better.correlation > correlation - 0.01) {
        pose.set(aligned);
        ({ correlation, parts } = better);
      }
    }
    const size = Math.hypot(pose[0], pose[1]);
    const fine =
      correlation > (moved ? POOR : GOOD) &&
      parts >= MIN_PARTS &&
      size > SMALLEST &&
      size < LARGEST &&
      (moved || template.deviation > MIN_DEVIATION);
    if (fine) this.#bad = Math.max(0, this.#bad - 2);
    else if (correlation === OUTSIDE) this.#bad += FADES_AT;
    else this.#bad += correlation < NOTHING_ALIKE && parts < NOTHING_ALIKE ? 2 : 1;
    return fine;
  }

  /** Look for it near where it was, at its last size. @param {Pyramid} to @param {number} now ms */
  #search(to, now) {
    const template = this.#template;
    if (now - this.#lostAt > SEARCH_MS) {
      this.state = "gone";
      return;
    }
    if (now - this.#searchedAt < SEARCH_EVERY_MS || template.deviation < MIN_DEVIATION_SEARCH) return;
    this.#searchedAt = now;
    const [a, b, x, y] = this.#pose;
    const side = Math.max(template.width, template.height);
    const radius = (this.#alike ? RADIUS_BESIDE_ANOTHER : SEARCH_RADIUS) * side;
    const stride = Math.max(2, SEARCH_STEP * side);
    let best = MIN_CANDIDATE;
    let bestX = NaN;
    let bestY = NaN;
    for (let dy = -radius; dy <= radius; dy += stride) {
      for (let dx = -radius; dx <= radius; dx += stride) {
        const likeness = template.coarse(to, a, b, x + dx, y + dy);
        if (likeness > best) {
          best = likeness;
          bestX = x + dx;
          bestY = y + dy;
        }
      }
    }
    if (Number.isNaN(bestX)) return;
    aligned.set([a, b, bestX, bestY]);
    template.align(to, aligned, SEARCH_ALIGN_STEPS);
    const { correlation, parts } = template.compare(to, aligned);
    if (!(correlation > FOUND && parts > FOUND_PARTS)) return;
    if (this.#twin(to, aligned[2], aligned[3], correlation - LIKENESS)) return;
    this.#pose.set(aligned);
    this.#bad = 0;
    this.#velocityX = this.#velocityY = 0;
    this.state = "shown";
    this.#seed(to);
  }

  /** @param {Pyramid} pyramid a picture that it is in */
  #lookBeside(pyramid) {
    if (this.#template.deviation < MIN_DEVIATION_SEARCH) return;
    this.#alike = this.#twin(pyramid, this.#pose[2], this.#pose[3], ALIKE);
  }

  /**
   * Something else that is as much like it, beside what was found.
   * @param {Pyramid} to
   * @param {number} x
   * @param {number} y what was found
   * @param {number} least correlation
   */
  #twin(to, x, y, least) {
    const template = this.#template;
    const [a, b, fromX, fromY] = this.#pose;
    const side = Math.max(template.width, template.height);
    const radius = SEARCH_RADIUS * side;
    const stride = Math.max(2, SEARCH_STEP * side);
    for (let dy = -radius; dy <= radius; dy += stride) {
      for (let dx = -radius; dx <= radius; dx += stride) {
        const apart = Math.max(Math.abs(fromX + dx - x) / template.width, Math.abs(fromY + dy - y) / template.height);
        if (apart < 0.5 || template.coarse(to, a, b, fromX + dx, fromY + dy) < least - 0.2) continue;
        other.set([a, b, fromX + dx, fromY + dy]);
        template.align(to, other, ALIGN_STEPS);
        const still = Math.max(Math.abs(other[2] - x) / template.width, Math.abs(other[3] - y) / template.height);
        if (still >= 0.5 && template.compare(to, other).correlation > least) return true;
      }
    }
    return false;
  }

  /** Choose corners in the box to follow, and around it where it has too few. @param {Pyramid} pyramid */
  #seed(pyramid) {
    const [left, top, right, bottom] = this.edges;
    const w = right - left;
    const h = bottom - top;
    const whole = pyramid.levels[0];
    const inset = 0.04;
    this.#count = corners(
      whole,
      left + w * inset,
      top + h * inset,
      right - w * inset,
      bottom - h * inset,
      this.#points,
    );
    this.#around = this.#count < FEW_CORNERS;
    if (this.#around)
      this.#count = corners(whole, left - w / 2, top - h / 2, right + w / 2, bottom + h / 2, this.#points);
  }
}

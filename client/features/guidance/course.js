/** Where the thing is that somebody is led to, and what they hear of it: rate, side and words. No page, no clock. */

/** @typedef {import("../../core/page/picture.js").Edges} Edges */
/** @typedef {"left"|"right"|"up"|"down"} Side */

/**
 * The cue to play now.
 * @typedef {Object} Cue
 * @property {"looking"|"maybe"|"found"|"middle"|"covered"|"lost"|"there"} state
 * @property {number} rate tones a second; 0: none
 * @property {number} pan -1 left to 1 right
 * @property {number} hertz
 * @property {number} off how far it is from the middle, 0 to 1
 * @property {number} hour its direction on a clock's face, 1 to 12
 * @property {number} share of the picture that it fills, 0 to 1
 * @property {Side} side on which it left the picture
 * @property {boolean} confirmed a second look has seen it, too
 * @property {number} [metres] about how far away it is; absent: unknown
 */

// In the middle: so near to it, and until it is so far, in halves of the picture
const INTO_MIDDLE = 0.2;
const OUT_OF_MIDDLE = 0.3;
// From here on it left by the edge that it was nearest to.
const TO_EDGE = 0.5;
// After turning to its side for so long (ms), the person has passed it.
const TO_SIDE = 3000;
// What is lost in the middle is covered, perhaps by a hand, where it stood still (of the picture a second) and the
// tracker had lost it for so long (ms), too. They wait for so long (ms).
const STILL = 0.25;
const UNTRACKED = 400;
const COVERED = 3000;
// Tones a second: far away, in the middle, and while nothing is in sight
const SLOWEST = 1.5;
const FASTEST = 10;
const UNSEEN = 0.6;
const HERTZ = { looking: 330, covered: 330, lost: 330, found: 660, middle: 880, there: 880 };
// A person reacts so late (ms): cues are about where it will be then, if it moves on as it does.
const LEAD = 400;
const FURTHEST = 700;
// Who hears that it will be in the middle has so long (ms) to come to rest, before another cue contradicts.
const STEADY = 600;
// A position older than this (ms) is out of date.
const STALE = 1500;
// Its speed is that of so many ms.
const SMOOTH = 150;

/** Follows what looks and the tracker tell. Times are ms by the page's clock. */
export class Course {
  /** @type {"looking"|"maybe"|"found"|"lost"|"there"} */
  #state = "looking";
  /** @type {Edges|null} */
  #box = null;
  #at = -Infinity;
  #velocity = [0, 0];
  #id = 0;
  #confirmed = false;
  /** @type {number|undefined} */
  #metres;
  #inMiddle = false;
  #lostAt = Infinity;
  #covered = false;
  #steadyUntil = -Infinity;
  #freeAt = -Infinity;

  /**
   * A look has ended. @param
   * {{state: "looking"|"maybe"|"found"|"lost"|"there", box?: Edges|null, confirmed?: boolean, metres?: number}} target
   * @param {number} at the time of its frame @param {number} [now]
   */
  target({ state, box, confirmed = false, metres }, at, now = at) {
    if (seen(state) && !seen(this.#state)) this.#restart();
    if (state === "lost" && this.#state === "found") {
      this.#covered = Math.hypot(...this.#velocity) < STILL && now - this.#at >= UNTRACKED;
    }
    this.#state = state;
    this.#confirmed = confirmed;
    this.#metres = metres;
    // The tracker knows it later than the look.
    if (box && (seen(state) || state === "there") && at > this.#at) this.#place(box, at);
  }

  /**
   * It was followed to a later picture.
   * @param {Edges} box
   * @param {number} at
   * @param {number} id another one with each look, whose box has another shape
   */
  moved(box, at, id) {
    if (!seen(this.#state) || at <= this.#at) return;
    this.#place(box, at, id);
  }

  /** Return the cue for a time. @param {number} now @returns {Cue} */
  cue(now) {
    const state = this.#state;
    const ahead = Math.min(FURTHEST, Math.max(0, now - this.#at) + LEAD);
    const [left, top, right, bottom] = this.#box ?? [0, 0, 0, 0];
    const x = (left + right) / 2 + (this.#velocity[0] * ahead) / 1000;
    const y = (top + bottom) / 2 + (this.#velocity[1] * ahead) / 1000;
    const across = 2 * x - 1;
    const down = 2 * y - 1;
    const share = Math.max(0, right - left) * Math.max(0, bottom - top);
    const common = {
      pan: 0,
      off: 1,
      hour: 12,
      share,
      side: sideOf(across, down),
      confirmed: this.#confirmed,
      metres: this.#metres,
    };
    if (state === "there") return { ...common, state, rate: 0, hertz: HERTZ.there, off: 0 };
    if (state === "looking" || !this.#box) return { ...common, state: "looking", rate: UNSEEN, hertz: HERTZ.looking };
    const outside = Math.max(Math.abs(across), Math.abs(down)) > 1.1;
    if (state === "lost" || outside || now - this.#at > STALE) {
      this.#inMiddle = false;
      // It was neither near an edge nor on its way to one: its direction is unknown.
      const gone = Math.max(Math.abs(across), Math.abs(down)) < TO_EDGE;
      this.#lostAt = Math.min(this.#lostAt, now);
      const covered = gone && this.#covered && state === "lost" && now - this.#lostAt <= COVERED;
      if (covered) return { ...common, state: "covered", rate: UNSEEN, hertz: HERTZ.covered };
      if (gone || now - this.#lostAt > TO_SIDE)
        return { ...common, state: "looking", rate: UNSEEN, hertz: HERTZ.looking };
      const pan = { left: -1, right: 1, up: 0, down: 0 }[common.side];
      return { ...common, state: "lost", rate: UNSEEN, pan, hertz: HERTZ.lost };
    }
    // Words are about where it is, tones about where it will be.
    const [nowAcross, nowDown] = [left + right - 1, top + bottom - 1];
    this.#lostAt = Infinity;
    const off = Math.min(1, Math.hypot(nowAcross, nowDown));
    this.#inMiddle = off < (this.#inMiddle ? OUT_OF_MIDDLE : INTO_MIDDLE);
    // A single detection is audible, but does not count as found.
    const shown = state === "maybe" ? "maybe" : this.#inMiddle ? "middle" : "found";
    let soon = Math.min(1, Math.hypot(across, down));
    let pan = Math.min(1, Math.max(-1, across));
    if (soon < INTO_MIDDLE && now >= this.#freeAt) {
      this.#steadyUntil = now + STEADY;
      this.#freeAt = this.#steadyUntil + 1;
    }
    if (now < this.#steadyUntil) soon = pan = 0;
    const rate = SLOWEST + (FASTEST - SLOWEST) * (1 - soon) ** 1.5;
    return {
      ...common,
      state: shown,
      rate,
      pan,
      hertz: HERTZ[soon < OUT_OF_MIDDLE ? "middle" : "found"],
      off,
      hour: hourOf(nowAcross, nowDown),
    };
  }

  #restart() {
    this.#velocity = [0, 0];
    this.#at = this.#steadyUntil = this.#freeAt = -Infinity;
    this.#inMiddle = false;
  }

  /** @param {Edges} box @param {number} at @param {number} [id] 0: a look's */
  #place(box, at, id = 0) {
    const same = id === this.#id;
    this.#id = id;
    // Two boxes of different looks differ without any motion.
    if (same && this.#box && Number.isFinite(this.#at)) {
      const passed = Math.max(1, at - this.#at);
      const weight = Math.min(1, passed / SMOOTH);
      const middles = [box, this.#box].map(([left, top, right, bottom]) => [(left + right) / 2, (top + bottom) / 2]);
      this.#velocity = this.#velocity.map(
        (before, n) => before + weight * ((1000 * (middles[0][n] - middles[1][n])) / passed - before),
      );
    }
    this.#box = box;
    this.#at = at;
  }
}

/** The thing is in the picture. @param {string} state */
function seen(state) {
  return state === "found" || state === "maybe";
}

/** @param {number} across -1 to 1 @param {number} down @returns {Side} */
function sideOf(across, down) {
  if (Math.abs(down) > Math.abs(across)) return down < 0 ? "up" : "down";
  return across < 0 ? "left" : "right";
}

/** @param {number} across @param {number} down @returns {number} */
function hourOf(across, down) {
  return Math.round((Math.atan2(across, -down) / Math.PI) * 6 + 12) % 12 || 12;
}

/** How much is said: tones alone, what matters, directions, every change. @typedef {0|1|2|3} Level */

// Between two sentences, and until one that still holds is said again (ms)
const APART = 2000;
const AGAIN = 9000;
/** @type {[number, string][]} how much of the picture a thing fills: the share up to which, and its words */
const SIZES = [
  [0.06, "lead.size_small"],
  [0.17, "lead.size_tenth"],
  [0.37, "lead.size_quarter"],
  [0.65, "lead.size_half"],
];
// Up to here it is within reach, and up to here an arm's length away (m); so much more or less is no news
const REACH = 0.6;
const ARM = 1;
const SLACK = 1.15;

/**
 * How far away it is said to be, in whole metres beyond an arm's length; "": it is not said.
 * @typedef {""|"reach"|"arm"|number} Far
 */

/** @param {number|undefined} metres @param {Far} before what was said @returns {Far} */
function farOf(metres, before) {
  if (!metres) return "";
  const [least, most] =
    before === "reach" ? [0, REACH] : before === "arm" ? [REACH, ARM] : [Number(before) - 0.5, Number(before) + 0.5];
  if (before !== "" && metres > least / SLACK && metres < most * SLACK) return before;
  return metres < REACH ? "reach" : metres < ARM ? "arm" : Math.round(metres);
}

/** Chooses what is said and when: one sentence in two seconds, about what is so then. */
export class Teller {
  #key = "";
  #at = -Infinity;
  /** @type {Far} */
  #far = "";

  /** Say what holds, though it was said before. */
  anew() {
    this.#key = "";
  }

  /**
   * @param {Cue} cue @param {number} now ms @param {Level} level
   * @returns {{id: string, hour?: number, size?: string, far?: Far}|null} words by their ids; null: nothing to say
   */
  next(cue, now, level) {
    if (level === 0 || cue.state === "maybe" || now - this.#at < APART) return null;
    const far = farOf(cue.metres, this.#far);
    const key = keyOf(cue, level, far);
    const again = level > 1 && ["looking", "lost"].includes(cue.state) && now - this.#at >= AGAIN;
    if (key === this.#key && !again) return null;
    const known = key === this.#key;
    [this.#key, this.#at, this.#far] = [key, now, far];
    return known && cue.state === "looking" ? { id: "lead.still_looking" } : sentence(cue, far);
  }
}

/** A key of the sentence. @param {Cue} cue @param {Level} level @param {Far} far @returns {string} */
function keyOf({ state, hour, share, side }, level, far) {
  if (state === "lost") return `lost ${side}`;
  if (level === 1 || (state !== "found" && state !== "middle")) return state;
  if (state === "middle") return `middle ${far}`;
  const step = level === 3 && far === "" ? sizeOf(share) : far;
  return `found ${hour} ${step}`;
}

/** The words for how much of the picture a thing fills, by their id. @param {number} share @returns {string} */
function sizeOf(share) {
  return SIZES.find(([most]) => share < most)?.[1] ?? "lead.size_most";
}

/** @type {Record<string, string>} */
const WORDS = {
  looking: "lead.looking",
  covered: "lead.covered",
  found: "lead.at_hour",
  middle: "lead.middle",
  there: "lead.there",
};
/** @type {Record<Side, string>} */
const LOST = { left: "lead.lost_left", right: "lead.lost_right", up: "lead.lost_up", down: "lead.lost_down" };

/** The same with how far away it is. @type {Record<string, string>} */
const FAR = { found: "lead.at_hour_far", middle: "lead.middle_far" };

/** @param {Cue} cue @param {Far} far */
function sentence({ state, hour, share, side }, far) {
  if (state === "lost") return { id: LOST[side] };
  if (far !== "" && FAR[state]) return { id: FAR[state], hour, far };
  return state === "found" ? { id: WORDS.found, hour, size: sizeOf(share) } : { id: WORDS[state] };
}

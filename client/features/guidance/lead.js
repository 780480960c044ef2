import { pageTime } from "../../core/live/api.js";
import { byId, say, show } from "../../core/page/dom.js";
import { openSound } from "../../core/page/notes.js";
import { settings } from "../../core/page/settings.js";
import { goodTone } from "../../core/page/tones.js";
import { Beacon } from "./beacon.js";
import { Course, Teller } from "./course.js";
import { help, tones } from "./help.js";
import { finderWords, leadWords } from "./words.js";

/** @typedef {import("../../core/live/messages.d.ts").Target} Target */
/** @typedef {import("../../core/page/picture.js").Edges} Edges */
/** @typedef {import("./course.js").Cue} Cue */

// Milliseconds between two updates of the tone, beside those of each message
const TICK = 100;
// Clocks of one machine, and the oldest frame that a target is about (ms)
const CLOCKS = 100;
const OLDEST = 5000;
// Vibration (ms): with a tone that is near, and when it comes into the middle, is lost, is there
const NEAR = 0.5;
const SHAKES = { tone: [12], middle: [60, 40, 60], lost: [25, 60, 25], there: [250] };
const LEVELS = /** @type {const} */ ({ short: 1, normal: 2, full: 3 });

/** Leads a person to a thing by tones, vibration and few words. Loaded with the first wish. */
export class Lead {
  #say;
  #show;
  #video;
  #makeFollow;
  #onLost;
  #finder = byId("lead-finder", HTMLElement);
  #beacon = new Beacon(() => this.#tone());
  #course = new Course();
  #teller = new Teller();
  /** @type {{place: (box: Edges|null, at?: number) => void, stop: () => void}|null} */
  #follow = null;
  #thing = "";
  #label = "";
  /** @type {Target["kind"]|""} "" until the server says what it looks for */
  #kind = "";
  // Time of the frame whose box is followed, and the last of them that the tracker has lost
  #placed = 0;
  #lost = 0;
  /** @type {Cue["state"]|""} */
  #state = "";
  /** @type {Cue|null} */
  #cue = null;
  #reached = false;
  /** @type {ReturnType<typeof setInterval>|undefined} */
  #ticks;
  #round = 0;

  /**
   * @param {Object} hooks
   * @param {HTMLVideoElement} hooks.video
   * @param {(text: string) => boolean} hooks.say speaks it, if the user wants that; true when wanted
   * @param {(text: string, spoken: boolean, loud: boolean) => void} hooks.show loud: a screen reader says it
   * @param {(onBox: (box: Edges, at: number, id: number) => void,
   *   onLost: (id: number) => void) => Promise<Lead["#follow"]>|undefined} hooks.follow follows a box between looks
   * @param {() => void} hooks.lost what was followed is lost: a look may find it
   */
  constructor({ video, say, show, follow, lost }) {
    this.#video = video;
    this.#say = say;
    this.#show = show;
    this.#makeFollow = follow;
    this.#onLost = lost;
  }

  /** The user has tapped, which browsers want for sound. */
  prepare() {
    openSound();
  }

  /** Lead to something, in place of the thing before. @param {string} thing */
  begin(thing) {
    this.end();
    this.#thing = this.#label = thing;
    this.#kind = "";
    this.#placed = this.#lost = 0;
    show(this.#finder, false);
    this.#course = new Course();
    this.#teller = new Teller();
    this.#reached = false;
    this.#ticks = setInterval(() => this.#tick(), TICK);
    const round = ++this.#round;
    if (this.#video.srcObject) {
      const onBox = (/** @type {Edges} */ box, /** @type {number} */ at, /** @type {number} */ id) => {
        this.#course.moved(this.#seen(box), at, id);
        this.#tick();
      };
      const onLost = (/** @type {number} */ id) => {
        if (id !== this.#lost) this.#onLost();
        this.#lost = id;
      };
      void this.#makeFollow(onBox, onLost)?.then((follow) => {
        if (round === this.#round && this.#ticks) this.#follow = follow;
        else follow?.stop();
      });
    }
    this.#tick();
  }

  /** Lead to nothing any more. */
  end() {
    clearInterval(this.#ticks);
    this.#ticks = undefined;
    this.#round++;
    this.#beacon.stop();
    this.#follow?.stop();
    this.#follow = null;
    this.#state = "";
    this.#cue = null;
  }

  /** @param {Target} target @returns {boolean} it was reached just now */
  receive(target) {
    if (!this.#ticks || target.thing !== this.#thing) return false;
    const now = pageTime();
    const { state, box, confirmed, metres, captured_at: captured = 0, age_ms: age = 0 } = target;
    const at = captured <= now + CLOCKS && captured >= now - OLDEST ? captured : now - age;
    if (target.kind !== this.#kind) this.#teller.anew();
    this.#label = target.label;
    this.#kind = target.kind;
    this.#course.target({ state, box: box && this.#seen(/** @type {Edges} */ (box)), confirmed, metres }, at, now);
    // A second look is at a frame whose box is followed already.
    if ((state === "found" || state === "maybe") && box) {
      if (at !== this.#placed) this.#follow?.place(/** @type {Edges} */ (box), at);
      this.#placed = at;
    } else {
      this.#follow?.place(null);
      this.#placed = 0;
    }
    this.#reached = state === "there";
    show(this.#finder, Boolean(box));
    say(byId("fact-finder", HTMLElement), finderWords(target));
    this.#tick();
    return this.#reached;
  }

  /**
   * A box as its person turns: a camera that looks at them sees their right at the left.
   * @param {Edges} box
   * @returns {Edges}
   */
  #seen([left, top, right, bottom]) {
    const stream = this.#video.srcObject;
    const track = stream instanceof MediaStream ? stream.getVideoTracks()[0] : null;
    return track?.getSettings().facingMode === "user" ? [1 - right, top, 1 - left, bottom] : [left, top, right, bottom];
  }

  #tick() {
    if (!this.#ticks) return;
    const { verbosity } = settings();
    const cue = (this.#cue = this.#course.cue(pageTime()));
    if (tones()) this.#beacon.set(cue);
    else this.#beacon.stop();
    if (cue.state !== this.#state) {
      if (cue.state === "middle" || cue.state === "lost" || cue.state === "there") shake(SHAKES[cue.state]);
      if (cue.state === "there" && tones()) goodTone();
      this.#state = cue.state;
    }
    // The least of all is tones alone.
    const level = help() === "tones" && verbosity === "short" ? 0 : LEVELS[verbosity];
    const sentence = this.#kind ? this.#teller.next(cue, performance.now(), level) : null;
    if (sentence) {
      const words = leadWords(sentence, this.#label, this.#kind === "text");
      this.#show(words, help() === "spoken" && this.#say(words), true);
    } else if (level === 0) this.#show(this.#label, false, false);
    if (this.#reached && (sentence || level === 0)) this.end();
  }

  #tone() {
    if (this.#cue?.state === "found" && this.#cue.off < NEAR) shake(SHAKES.tone);
  }
}

/** @param {number[]} pattern ms */
function shake(pattern) {
  // Safari has none.
  navigator.vibrate?.(pattern);
}

import { pageTime } from "../../core/live/api.js";
import { inSimpleMode } from "../../core/page/words.js";
import { onLanguage, text } from "../../core/words/text.js";
import { Boxes } from "./boxes.js";
import { frameTime } from "./marks.js";
import { PickView, inside, square } from "./pickview.js";
import { Readback } from "./readback.js";

/** @typedef {import("../../core/page/picture.js").Edges} Edges */
/** @typedef {import("./pickview.js").Picked} Picked */
/** @typedef {import("./pickview.js").Place} Place */

// Side of the square about a place where nothing is found, as a share of the picture's shorter side
const SQUARE = 0.3;
// Overlap of a drawn box with that of what is found in its middle from which it is drawn about that
const FITS = 0.3;
// A box that was followed for so long (ms) and is gone has left the picture; else it had nothing to be followed by.
const FOLLOWED = 1000;
// A box that has not caught up with the live picture (ms) is not shown yet.
const BEHIND = 600;
// Report a moving box to the server at most this often (ms), and from this distance (share of the picture)
const TELL_EVERY = 500;
const TELL_FROM = 0.02;
// A box that nothing follows belongs to its scene: until the small picture's brightness (0 to 255) differs by so much
// on the average of every so manieth pixel.
const OTHER_SCENE = 28;
const SCENE_STEP = 61;

/**
 * The part of the picture that somebody points at: questions are about it until it is cleared. It is followed on the
 * live picture; on a held one, and on another device's, it stays where it is.
 */
export class Picker {
  #page;
  #view;
  #readback;
  /** @type {Boxes|null} made for the first part */
  #boxes = null;
  /** @type {Picked|null} */
  #picked = null;
  /** @type {Picked|null} what the last tap replaced */
  #before = null;
  /**
   * @type {(Place & {at: number, had: boolean, drawn: Edges|null})|null} the place that the server was asked about;
   *   had: another part was marked; drawn: the box that somebody drew about it
   */
  #asked = null;
  /** @type {{box: Edges, at: number}|null} to be followed from the next small picture on */
  #begins = null;
  // Of the box that is followed; 0 for none
  #id = 0;
  /** @type {number|null} time of the first picture that it was seen in */
  #since = null;
  // Time of the first small picture
  #first = 0;
  /** @type {Uint8Array|null} the small picture that the part was marked in */
  #scene = null;
  /** @type {{at: number, box: Edges|null}} what the server was told */
  #told = { at: 0, box: null };
  #held = false;
  #on = false;

  /** @param {import("../../core/page.js").Page} page */
  constructor(page) {
    this.#page = page;
    this.#readback = new Readback(page.stage.video, (luma, width, height, at) =>
      this.#picture(luma, width, height, at),
    );
    this.#view = new PickView({
      able: () => this.#able,
      onTap: (place, ratio) => this.#tap(place, ratio),
      onTapTwice: () => this.#untap(),
      onDrawn: (box) => this.#draw(box),
      onStart: () => this.#start(),
      onMoved: (box) => this.#mark({ box, label: "", state: "drawn" }, null),
      onTaken: () => this.#take(),
      onClear: () => this.clear(),
      announce: (words) => page.announce(words),
    });
    page.when("stream", () => this.clear());
    page.when("session", () => (this.#told = { at: 0, box: null }));
    page.when("facts", (facts) => this.#facts(facts));
    onLanguage(() => this.#suggest());
    this.#suggest();
  }

  /** The part that questions are about, in shares of the picture; null: all of it. @returns {Edges|null} */
  get part() {
    const box = this.#picked && this.#on ? inside(this.#picked.box) : null;
    return box && /** @type {Edges} */ (box.map((edge) => Math.round(edge * 1e4) / 1e4));
  }

  /** @param {import("../../core/live/messages.d.ts").Pointed} pointed what is at a place */
  receive(pointed) {
    const asked = this.#asked;
    if (!asked || pointed.x !== asked.x || pointed.y !== asked.y) return;
    this.#asked = null;
    const [found] = pointed.boxes;
    // Keep a mark that was drawn for something else.
    if (asked.drawn && !(found && overlap(inside(found.box), asked.drawn) >= FITS)) return;
    if (!found && asked.had) return this.clear();
    if (!found) return this.#unknown();
    const { captured_at: captured_at = 0, age_ms: age_ms = 0 } = pointed;
    const at = frameTime(/** @type {any} */ ({ captured_at, age_ms }), asked.at, pageTime());
    const { label = "", kind } = found;
    this.#mark({ box: inside(found.box), label, goal: kind === "text" ? `"${label}"` : label, state: "found" }, at);
    this.#announce();
  }

  /** Mark a place without a detected thing: questions can still be about it. */
  #unknown() {
    const picked = this.#picked;
    if (picked?.state !== "guessed") return;
    picked.remark = text("pick.unknown");
    this.#view.render(picked);
    this.#page.announce(picked.remark);
  }

  /** Questions are about all of the picture again. */
  clear() {
    this.#asked = null;
    if (!this.#picked) return;
    this.#set(null);
    this.#page.announce(text("pick.cleared"));
  }

  get #able() {
    return this.#on && !document.querySelector("dialog[open]") && !this.#page.stage.detailed;
  }

  /** @param {import("../../core/live/facts.js").Facts} facts */
  #facts({ camera, held, socket, ready }) {
    const on = ["on", "elsewhere"].includes(camera) && this.#page.stage.app.dataset.camera === "on";
    // The held picture differs from the live one.
    if (this.#picked && (!on || (this.#held && !held))) this.clear();
    if (held && !this.#held) this.#unfollow();
    [this.#on, this.#held] = [on, held];
    if (socket !== "open" || !ready) this.#told = { at: 0, box: null };
    else this.#tell();
    this.#suggest();
  }

  /** @param {Place} place @param {number} ratio */
  #tap(place, ratio) {
    this.#before = this.#picked;
    if (this.#picked && holds(this.#picked.box, place)) return;
    const [x, y] = [place.x, place.y].map((share) => Math.round(share * 1e4) / 1e4);
    const had = this.#picked !== null;
    this.#mark({ box: square(place, ratio, SQUARE), label: "", state: "guessed" });
    this.#ask({ x, y }, had);
    if (!had) this.#announce();
  }

  /** The last tap was half of a double one, and marks nothing. */
  #untap() {
    this.#asked = null;
    if (this.#before) this.#mark(this.#before);
    else this.#set(null);
  }

  /** Mark what was drawn, and the thing in it, when there is one. @param {Edges} box */
  #draw(box) {
    this.#mark({ box, label: "", state: "drawn" });
    this.#ask(middle(box), false, box);
  }

  /**
   * Ask the server what is at a place.
   * @param {Place} place @param {boolean} had another part was marked @param {Edges|null} [drawn] about it
   */
  #ask({ x, y }, had, drawn = null) {
    this.#page.visit.wake();
    this.#asked = this.#page.send({ type: "point", x, y }) ? { x, y, at: pageTime(), had, drawn } : null;
  }

  #start() {
    if (!this.#able) return;
    const ratio = this.#view.ratio;
    if (!ratio) return;
    if (!this.#picked) this.#mark({ box: square({ x: 0.5, y: 0.5 }, ratio, SQUARE), label: "", state: "drawn" }, null);
    this.#view.focus();
  }

  /** The keyboard has ended: find what is in the middle of the box, and ask about it. */
  #take() {
    if (!this.#picked) return;
    this.#mark(this.#picked);
    if (this.#picked.state === "drawn") this.#ask(middle(this.#picked.box), false);
    this.#announce();
    this.#page.chat.composer.box.focus();
  }

  /**
   * Mark a part.
   * @param {Picked} picked
   * @param {number|null} [at] time of the picture that it is about; null: it is not followed
   */
  #mark(picked, at = pageTime()) {
    // The result is about the picture at the time of the tap.
    if (picked.state !== "found") this.#scene = null;
    this.#set(picked);
    if (at === null || this.#held || !this.#page.stage.video.srcObject) return;
    this.#begins = { box: picked.box, at };
    if (!this.#readback.running) this.#first = 0;
    this.#readback.start();
  }

  /** @param {Picked|null} picked */
  #set(picked) {
    this.#picked = picked;
    this.#unfollow();
    this.#view.render(picked);
    this.#tell();
    this.#suggest();
  }

  #unfollow() {
    this.#begins = this.#since = null;
    if (this.#id) this.#boxes?.removeBox(this.#id);
    this.#id = 0;
    if (!this.#picked || this.#held) this.#readback.stop();
  }

  /** @param {Uint8Array} luma @param {number} width @param {number} height @param {number} at */
  #picture(luma, width, height, at) {
    if (this.#boxes?.failed) return this.#readback.stop();
    this.#boxes ??= this.#begin();
    this.#boxes.frame(luma, at, width, height);
    this.#first ||= at;
    if (!this.#begins) {
      if (!this.#id && this.#scene && differ(this.#scene, luma) > OTHER_SCENE) this.clear();
      return;
    }
    const { box, at: captured } = this.#begins;
    this.#begins = null;
    this.#scene ??= luma.slice();
    this.#id = this.#boxes.addBox({ box, capturedAt: Math.max(captured, this.#first), label: "" });
  }

  #begin() {
    const boxes = new Boxes();
    boxes.on((list) => this.#heard(list));
    return boxes;
  }

  /** @param {import("./tracker.js").Carried[]} list */
  #heard(list) {
    const found = list.find(({ id }) => id === this.#id);
    const picked = this.#picked;
    if (!found || !picked || this.#held) return;
    // It is said once, however late.
    if (found.state === "gone") return this.#gone(picked, found.at);
    if (pageTime() - found.at > BEHIND) return;
    if (found.state === "lost") {
      this.#view.render({ ...picked, state: "lost" });
      return;
    }
    this.#since ??= found.at;
    picked.box = inside(found.box);
    this.#view.render(picked);
    if (performance.now() - this.#told.at > TELL_EVERY) this.#tell();
  }

  /** @param {Picked} picked @param {number} at */
  #gone(picked, at) {
    const followed = this.#since !== null && at - this.#since > FOLLOWED;
    this.#unfollow();
    if (!followed) return this.#view.render(picked);
    if (picked.label) this.#page.announce(text("track.gone", { thing: picked.label }));
    this.clear();
  }

  /** Send the mark to the server, which makes spoken questions itself. */
  #tell() {
    const { ready } = this.#page.visit.facts;
    const [box, told] = [this.part, this.#told.box];
    if (!ready?.features.voice_in || (!box && !told)) return;
    const moved = box && told ? Math.max(...box.map((edge, n) => Math.abs(edge - told[n]))) : 1;
    if (moved < TELL_FROM) return;
    if (this.#page.send({ type: "point_at", ...(box && { part: box }) })) this.#told = { at: performance.now(), box };
  }

  #announce() {
    if (this.#picked) this.#page.announce(text("pick.marked", { what: this.#view.where(this.#picked) }));
  }

  /** Offer what can be done with the part. */
  #suggest() {
    const { chat, visit } = this.#page;
    const offer = [
      { words: text("stage.what_is_this"), does: () => chat.ask(text("stage.what_is_this")) },
      { words: text("stage.read_this"), does: () => chat.ask(text("stage.read_this"), "high") },
    ];
    if (this.#page.find("watches")) offer.push({ words: text("pick.tell_moves"), does: () => this.#watch() });
    if (!inSimpleMode(visit.facts)) {
      offer.push({ words: text("pick.press"), does: () => chat.ask(text("pick.press"), "auto", "where") });
    }
    // Last: it comes when the thing is known, and moves none of the others.
    const guidance = this.#page.find("guidance");
    const goal = this.#picked?.goal;
    if (guidance && goal) offer.push({ words: text("lead.begin"), does: () => void guidance.lead(goal) });
    chat.composer.suggestions.offer("part", this.#picked ? offer : []);
    chat.composer.point(this.#picked !== null);
  }

  /** Watch for the thing to move. */
  #watch() {
    const thing = inSimpleMode(this.#page.visit.facts) ? "" : (this.#picked?.label ?? "");
    this.#page.find("watches").add(thing ? text("pick.moves", { thing }) : text("pick.something_moves"));
  }
}

/** @param {Edges} box @returns {Place} as the server takes it */
function middle([x1, y1, x2, y2]) {
  const [x, y] = [x1 + x2, y1 + y2].map((sum) => Math.round((sum / 2) * 1e4) / 1e4);
  return { x, y };
}

/** The area that two boxes share, as a share of what they cover together. @param {Edges} one @param {Edges} other */
function overlap([a1, b1, a2, b2], [c1, d1, c2, d2]) {
  const both = Math.max(0, Math.min(a2, c2) - Math.max(a1, c1)) * Math.max(0, Math.min(b2, d2) - Math.max(b1, d1));
  return both / ((a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - both);
}

/** The mean difference of two small pictures of one size. @param {Uint8Array} one @param {Uint8Array} other */
function differ(one, other) {
  let sum = 0;
  let count = 0;
  for (let at = 0; at < one.length; at += SCENE_STEP, count++) sum += Math.abs(one[at] - other[at]);
  return sum / count;
}

/** @param {Edges} box @param {Place} place */
function holds([x1, y1, x2, y2], { x, y }) {
  return x >= x1 && x <= x2 && y >= y1 && y <= y2;
}

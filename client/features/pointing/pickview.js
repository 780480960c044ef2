import { byId, made, say, show, tell } from "../../core/page/dom.js";
import { direction, toElement, toPicture } from "../../core/page/picture.js";
import { joined, onLanguage, text } from "../../core/words/text.js";
import { shownIn } from "./overlay.js";

/** @typedef {import("../../core/page/picture.js").Edges} Edges */
/** @typedef {{x: number, y: number}} Place as shares of the picture */

/**
 * A part of the picture that somebody points at.
 * @typedef {Object} Picked
 * @property {Edges} box
 * @property {string} label "" without a name
 * @property {string} [remark] stands in the name's place
 * @property {string} [goal] the words that somebody is led to it by
 * @property {"guessed"|"found"|"drawn"|"lost"} state guessed: a square about the place, until something is found there
 */

/**
 * @typedef {Object} PickHooks
 * @property {() => boolean} able something may be pointed at now
 * @property {(place: Place, ratio: number) => void} onTap ratio: the picture's width to its height
 * @property {() => void} onTapTwice the last tap was the first half of a double one
 * @property {(box: Edges) => void} onDrawn
 * @property {() => void} onStart somebody wants to point without a pointer
 * @property {(box: Edges) => void} onMoved by a key
 * @property {() => void} onTaken by a key
 * @property {() => void} onClear
 * @property {(words: string) => void} announce
 */

// A press that moves so far (CSS pixels) draws; one that lasts so long (ms) without that is a long press, not a tap.
const DRAWS = 24;
const LONG = 500;
// A second tap within this time (ms) and so near (CSS pixels) makes both a double tap.
const DOUBLE = 300;
const NEAR = 40;
// Least side of a part, as the server takes it
const LEAST = 0.02;
// By one press of a key: a share of the picture, and of the part's own sides
const STEP = 0.05;
const GROWS = 1.25;
// The cross stays in the picture, and the name needs room below the box: CSS pixels
const CROSS = 44;
const NAME = 34;

/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The part that is pointed at: what is pressed on the picture, the box, its keys. Knows no connection and no tracker.
 */
export class PickView {
  #stage = byId("stage", HTMLElement);
  #top = byId("top", HTMLElement);
  #pictures = [byId("far", HTMLImageElement), byId("still", HTMLCanvasElement), byId("video", HTMLVideoElement)];
  #root = made("div");
  /** The way without a pointer: seen while the keyboard has it */
  #start = made("button", { type: "button", className: "pick-start glass visually-hidden" });
  #box = made("button", { type: "button", className: "pick" });
  #name = made("b");
  #cross = made("button", { type: "button", className: "pick-clear glass icon" });
  /** The mark while the person draws it */
  #stroke = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  #line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  #hooks;
  /** @type {Picked|null} */
  #picked = null;
  /**
   * @type
   *   {{id: number, at: number, x: number, y: number, left: number, top: number, right: number, bottom: number,
   *   line: string}|null} the press that goes on; CSS pixels of the window
   */
  #press = null;
  #tapped = { at: -Infinity, x: 0, y: 0 };

  /** @param {PickHooks} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    this.#root.id = "pick";
    this.#name.dir = "auto";
    this.#box.append(this.#name);
    this.#stroke.append(this.#line);
    this.#root.append(this.#stroke, this.#start, this.#box, this.#cross);
    byId("marks", HTMLElement).after(this.#root);
    // An image would be dragged away.
    this.#pictures[0].setAttribute("draggable", "false");
    this.#start.addEventListener("click", () => hooks.onStart());
    for (const type of ["focus", "blur"]) this.#start.addEventListener(type, () => this.#words());
    this.#cross.addEventListener("click", () => this.#clear());
    this.#box.addEventListener("click", () => hooks.onTaken());
    this.#box.addEventListener("keydown", (event) => this.#key(event));
    this.#stage.addEventListener("pointerdown", (event) => this.#begin(event));
    this.#stage.addEventListener("keydown", (event) => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.isComposing;
      const typing = event.target instanceof HTMLInputElement;
      if (event.key.toLowerCase() === "p" && plain && !typing && hooks.able()) hooks.onStart();
    });
    // Before what else Escape ends: the details of the state, a correction
    document.addEventListener("keydown", (event) => this.#escape(event), { capture: true });
    addEventListener("pointermove", (event) => this.#move(event));
    addEventListener("pointerup", (event) => this.#end(event));
    addEventListener("pointercancel", () => this.#forget());
    new ResizeObserver(() => this.render(this.#picked)).observe(byId("view", HTMLElement));
    for (const picture of this.#pictures) picture.addEventListener("resize", () => this.render(this.#picked));
    onLanguage(() => this.#words());
    this.#words();
    this.render(null);
  }

  /** @param {Picked|null} picked */
  render(picked) {
    this.#picked = picked;
    const shown = picked && this.#shown();
    for (const element of [this.#box, this.#cross]) show(element, Boolean(shown));
    if (!picked || !shown) return;
    const { left, top, width, height } = toElement(picked.box, shown);
    place(this.#box, left, top);
    this.#box.style.width = `${width.toFixed(1)}px`;
    this.#box.style.height = `${height.toFixed(1)}px`;
    this.#box.dataset.state = picked.state;
    tell(this.#name, picked.label || (picked.remark ?? ""));
    const { clientWidth, clientHeight } = this.#stage;
    // Where it can be read whole: to the middle, and in the box where there is no room below.
    const end = left + width / 2 > clientWidth / 2;
    const low = top + height - this.#floor;
    const beyond = Math.max(end ? left + width - clientWidth : -left, low + NAME > 0 ? -6 : -15);
    this.#name.classList.toggle("end", end);
    this.#name.classList.toggle("in", low + NAME > 0);
    this.#name.style.setProperty("--aside", `${(beyond + 12).toFixed(1)}px`);
    this.#name.style.setProperty("--up", `${(Math.max(0, low) + 6).toFixed(1)}px`);
    const within = (/** @type {number} */ at, /** @type {number} */ most) => Math.max(0, Math.min(most - CROSS, at));
    // Below the page's own buttons
    const bar = this.#top.getBoundingClientRect().bottom - this.#root.getBoundingClientRect().top;
    const high = Math.max(bar, within(top - CROSS / 2, clientHeight));
    place(this.#cross, within(left + width - CROSS / 2, clientWidth), high);
    const label = text("pick.keys", { what: this.where(picked) });
    if (this.#box.getAttribute("aria-label") !== label) this.#box.setAttribute("aria-label", label);
  }

  /** The end of what is seen of the picture, in CSS pixels below its top. */
  get #floor() {
    return byId("view", HTMLElement).getBoundingClientRect().bottom - this.#root.getBoundingClientRect().top;
  }

  /** Describe the mark and its place. @param {Picked} picked */
  where({ box, label }) {
    const place = direction(box, this.#shown()?.mirrored);
    return label ? joined([label, place]) : place;
  }

  /** The keyboard moves the box. */
  focus() {
    this.#box.focus();
  }

  /** The shape of the picture that is shown; 0 without one. */
  get ratio() {
    const shown = this.#shown();
    return shown ? shown.width / shown.height : 0;
  }

  #words() {
    // Not where a finger has put the focus
    const focused = this.#start.matches(":focus-visible");
    this.#start.classList.toggle("visually-hidden", !focused);
    this.#start.setAttribute("aria-label", text("pick.start"));
    say(this.#start, focused ? text("pick.start") : "");
    this.#cross.setAttribute("aria-label", text("pick.clear"));
    this.#cross.title = text("pick.clear");
    this.render(this.#picked);
  }

  /** The element whose picture is seen. */
  get #seen() {
    return this.#pictures.find((picture) => !picture.hidden);
  }

  #shown() {
    const picture = this.#seen;
    return picture ? shownIn(picture) : null;
  }

  /** The focus would fall out of the page with what has it. */
  #clear() {
    const focused = this.#root.contains(document.activeElement);
    this.#hooks.onClear();
    if (focused) this.#start.focus();
  }

  /** @param {PointerEvent} event */
  #begin(event) {
    // A second finger moves or enlarges the page.
    const alone = this.#press === null && event.isPrimary && event.button === 0;
    this.#forget();
    const picture = this.#pictures.includes(/** @type {any} */ (event.target));
    if (!alone || !picture || !this.#hooks.able()) return;
    const { clientX: x, clientY: y } = event;
    this.#press = { id: event.pointerId, at: event.timeStamp, x, y, left: x, top: y, right: x, bottom: y, line: "" };
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const press = this.#press;
    if (!press || press.id !== event.pointerId) return;
    press.left = Math.min(press.left, event.clientX);
    press.top = Math.min(press.top, event.clientY);
    press.right = Math.max(press.right, event.clientX);
    press.bottom = Math.max(press.bottom, event.clientY);
    const { left, top } = this.#root.getBoundingClientRect();
    press.line += ` ${event.clientX - left},${event.clientY - top}`;
    if (draws(press)) this.#line.setAttribute("points", press.line);
  }

  #forget() {
    this.#press = null;
    this.#line.removeAttribute("points");
  }

  /** @param {PointerEvent} event */
  #end(event) {
    const press = this.#press;
    this.#move(event);
    this.#forget();
    const shown = this.#shown();
    if (!press || press.id !== event.pointerId || !shown || !this.#hooks.able()) return;
    if (draws(press)) return this.#drawn(press, shown);
    if (event.timeStamp - press.at >= LONG) return;
    const { at, x, y } = this.#tapped;
    const twice = event.timeStamp - at < DOUBLE && Math.hypot(event.clientX - x, event.clientY - y) < NEAR;
    this.#tapped = { at: twice ? -Infinity : event.timeStamp, x: event.clientX, y: event.clientY };
    if (twice) return this.#hooks.onTapTwice();
    const spot = toPicture(this.#inPicture(event.clientX, event.clientY), shown);
    if (spot) this.#hooks.onTap(spot, shown.width / shown.height);
  }

  /**
   * @param {{left: number, top: number, right: number, bottom: number}} drawn
   * @param {import("../../core/page/picture.js").Shown} shown
   */
  #drawn({ left, top, right, bottom }, shown) {
    const [from, to] = [this.#inPicture(left, top), this.#inPicture(right, bottom)];
    const across = [from.x, to.x]
      .map((x) => (x - shown.left) / shown.width)
      .map((x) => (shown.mirrored ? 1 - x : x))
      .sort((a, b) => a - b);
    const down = [from.y, to.y].map((y) => (y - shown.top) / shown.height);
    // The press ends in a click, which is none.
    const stop = (/** @type {Event} */ event) => event.stopPropagation();
    addEventListener("click", stop, { capture: true, once: true });
    setTimeout(() => removeEventListener("click", stop, { capture: true }));
    this.#hooks.onDrawn(inside([across[0], down[0], across[1], down[1]]));
  }

  /** @param {number} x @param {number} y CSS pixels of the window */
  #inPicture(x, y) {
    const { left, top } = /** @type {HTMLElement} */ (this.#seen).getBoundingClientRect();
    return { x: x - left, y: y - top };
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const picked = this.#picked;
    if (!picked || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    const grows = { "+": GROWS, "=": GROWS, "-": 1 / GROWS }[event.key];
    if (!arrow && !grows) return;
    event.preventDefault();
    const mirrored = this.#shown()?.mirrored;
    const box = arrow
      ? moveBox(picked.box, (mirrored ? -1 : 1) * arrow[0] * STEP, arrow[1] * STEP)
      : grown(picked.box, grows ?? 1);
    this.#hooks.onMoved(box);
    this.#hooks.announce(this.where({ ...picked, box }));
  }

  /** @param {KeyboardEvent} event */
  #escape(event) {
    const target = /** @type {Element} */ (event.target);
    // Those have their own use of it.
    const others =
      document.querySelector("dialog[open]") || target.closest("#marks, .asked") || !byId("facts", HTMLElement).hidden;
    if (event.key !== "Escape" || event.isComposing || !this.#picked || others) return;
    this.#clear();
  }
}

/** @param {{left: number, top: number, right: number, bottom: number}} press */
const draws = ({ left, top, right, bottom }) => Math.max(right - left, bottom - top) > DRAWS;

/**
 * A square of this share of the picture's shorter side about a place.
 * @param {Place} place
 * @param {number} ratio
 * @param {number} share
 * @returns {Edges}
 */
export function square({ x, y }, ratio, share) {
  const [wide, high] = ratio > 1 ? [share / ratio, share] : [share, share * ratio];
  return moveBox([-wide / 2, -high / 2, wide / 2, high / 2], x, y);
}

/** Move a part, and keep it in the picture. @param {Edges} box @param {number} x @param {number} y @returns {Edges} */
function moveBox([x1, y1, x2, y2], x, y) {
  const by = (/** @type {number} */ low, /** @type {number} */ high, /** @type {number} */ step) =>
    Math.max(-low, Math.min(1 - high, step));
  const [across, down] = [by(x1, x2, x), by(y1, y2, y)];
  return [x1 + across, y1 + down, x2 + across, y2 + down];
}

/** @param {Edges} box @param {number} by @returns {Edges} */
function grown([x1, y1, x2, y2], by) {
  const [x, y] = [((x2 - x1) * (by - 1)) / 2, ((y2 - y1) * (by - 1)) / 2];
  return inside([x1 - x, y1 - y, x2 + x, y2 + y]);
}

/** Clip a box to the picture and to the smallest accepted size. @param {Edges} box @returns {Edges} */
export function inside([x1, y1, x2, y2]) {
  const side = (/** @type {number} */ low, /** @type {number} */ high) => {
    const [from, to] = [Math.max(0, Math.min(1, low)), Math.max(0, Math.min(1, high))];
    if (to - from >= LEAST) return [from, to];
    const begin = Math.max(0, Math.min(1 - LEAST, (from + to - LEAST) / 2));
    return [begin, begin + LEAST];
  };
  const [[left, right], [top, bottom]] = [side(x1, x2), side(y1, y2)];
  return [left, top, right, bottom];
}

/** @param {HTMLElement} element @param {number} left @param {number} top */
function place(element, left, top) {
  element.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
}

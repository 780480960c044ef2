import { button, byId, made, say, show } from "../../core/page/dom.js";
import { direction, shownPicture, toElement } from "../../core/page/picture.js";
import { ago } from "../../core/page/routes.js";
import { text } from "../../core/words/text.js";
import { labelPlaces } from "./labels.js";

/** @typedef {import("../../core/page/picture.js").Edges} Edges */
/** @typedef {import("../../core/page/picture.js").Shown} Shown */

// The state's bar is above the picture; px, as what follows
const TOP_BAR = 62;
const EDGE = 8;

/**
 * A box as it is shown.
 * @typedef {Object} Mark
 * @property {number} id
 * @property {string} label
 * @property {boolean} unsure the model was not sure of it
 * @property {Edges} box
 * @property {"shown"|"fading"|"lost"} state lost: it may be found again
 * @property {number} age ms since the frame that the answer is about
 */

/** The boxes over the video: one button each, with a label and an age. Knows no connection and no tracker. */
export class Overlay {
  #root = byId("marks", HTMLElement);
  #view = byId("view", HTMLElement);
  #clear = byId("marks-clear", HTMLButtonElement);
  #video;
  #onAsk;
  /** @type {Map<number, HTMLButtonElement>} */
  #buttons = new Map();
  /** @type {Map<number, Mark>} what each shows */
  #marks = new Map();
  /** @type {Map<number, {words: string, width: number, height: number}>} the measured labels of several boxes */
  #labels = new Map();

  /**
   * @param {HTMLVideoElement|HTMLImageElement} video
   * @param {{onAsk: (mark: Mark, where: string) => void, onClear: () => void}} hooks
   *   onAsk: somebody pressed a box; onClear: all are to go
   */
  constructor(video, { onAsk, onClear }) {
    this.#video = video;
    this.#onAsk = onAsk;
    this.#clear.addEventListener("click", onClear);
    this.#root.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      onClear();
    });
    const again = () => this.render([...this.#marks.values()]);
    const sizes = new ResizeObserver(again);
    for (const element of [video, this.#view]) sizes.observe(element);
    video.addEventListener("resize", again);
  }

  /** @param {Mark[]} marks all that there are */
  render(marks) {
    const shown = this.#measure();
    const kept = new Set(marks.map(({ id }) => id));
    for (const id of [...this.#buttons.keys()]) if (!kept.has(id) || !shown) this.#remove(id);
    show(this.#root, marks.length > 0 && shown !== null);
    show(this.#clear, marks.length > 0);
    if (!shown) return;
    const boxes = marks.map((mark) => this.#place(mark, shown));
    this.#placeLabels(marks, boxes);
  }

  /** First of all and once in each rendering: it needs the layout. @returns {Shown|null} */
  #measure() {
    return shownIn(this.#video);
  }

  /** @param {Mark} mark @param {Shown} shown @returns {Omit<import("./labels.js").Labelled, "label">} */
  #place(mark, shown) {
    let button = this.#buttons.get(mark.id);
    if (!button) {
      button = this.#make(mark.id);
      this.#buttons.set(mark.id, button);
      this.#root.append(button);
    }
    this.#marks.set(mark.id, mark);
    const { left, top, width, height } = toElement(mark.box, shown);
    button.style.transform = `translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
    button.style.width = `${width.toFixed(1)}px`;
    button.style.height = `${height.toFixed(1)}px`;
    button.dataset.state = mark.state;
    const { clientWidth } = this.#video;
    const side = left + width / 2 > clientWidth / 2 ? "right" : "left";
    button.dataset.side = side;
    // Of a box that reaches beyond the picture, the label stays in it.
    const beyond = Math.max(0, EDGE - left, left + width + EDGE - clientWidth);
    button.style.setProperty("--beyond", `${beyond.toFixed(1)}px`);
    const where = mark.state === "lost" ? text("track.out_of_sight") : direction(mark.box, shown.mirrored);
    const old = ago(mark.age);
    const [name, age] = /** @type {HTMLElement} */ (button.firstElementChild).children;
    say(name, mark.unsure ? `${mark.label}?` : mark.label);
    say(age, old);
    const thing = mark.unsure ? text("page.unsure", { thing: mark.label }) : mark.label;
    const description = text("track.ask_about", { thing, place: where, ago: old });
    if (button.getAttribute("aria-label") !== description) button.setAttribute("aria-label", description);
    return { left, top, width, height, side, beyond };
  }

  /**
   * A label stands above its box, below it or in it, where there is space and no other label.
   * @param {Mark[]} marks @param {Omit<import("./labels.js").Labelled, "label">[]} boxes
   */
  #placeLabels(marks, boxes) {
    // One alone has none beside it; one that is lost is not seen.
    const several = marks.length > 1;
    const labelled = boxes.map((box, at) => {
      const label = several && marks[at].state !== "lost" ? this.#label(marks[at].id) : { width: 0, height: 0 };
      return { ...box, label };
    });
    const [video, view] = [this.#video, this.#view].map((one) => one.getBoundingClientRect());
    const places = labelPlaces(labelled, { top: TOP_BAR + view.top - video.top, bottom: view.bottom - video.top });
    places.forEach((place, at) => {
      const button = this.#buttons.get(marks[at].id);
      if (button) button.dataset.label = place;
    });
  }

  /** The size of a box's label, measured again with other words alone: it needs the layout. @param {number} id */
  #label(id) {
    const label = /** @type {HTMLElement} */ (this.#buttons.get(id)?.firstElementChild);
    const words = label.textContent ?? "";
    let found = this.#labels.get(id);
    if (found?.words !== words) {
      found = { words, width: label.offsetWidth, height: label.offsetHeight };
      this.#labels.set(id, found);
    }
    return found;
  }

  /** @param {number} id */
  #make(id) {
    const ask = () => {
      const mark = this.#marks.get(id);
      if (mark) this.#onAsk(mark, direction(mark.box, this.#measure()?.mirrored));
    };
    const mark = button(ask, { className: "mark" });
    // Its words are the model's, which may run the other way than the page's.
    mark.append(made("span", {}, made("b", { dir: "auto" }), made("i")));
    return mark;
  }

  /** @param {number} id */
  #remove(id) {
    const button = this.#buttons.get(id);
    const focused = button === document.activeElement;
    button?.remove();
    this.#buttons.delete(id);
    this.#marks.delete(id);
    this.#labels.delete(id);
    // A keyboard user would fall out of the page.
    if (focused) byId("question", HTMLTextAreaElement).focus();
  }
}

/**
 * The picture as an element shows it now: this needs the layout.
 * @param {HTMLVideoElement|HTMLImageElement|HTMLCanvasElement} element
 * @returns {Shown|null}
 */
export function shownIn(element) {
  const { clientWidth: width, clientHeight: height } = element;
  const style = getComputedStyle(element);
  const matrix = style.transform === "none" ? null : new DOMMatrixReadOnly(style.transform);
  return shownPicture(
    { width, height },
    pixelsOf(element),
    { whole: style.objectFit === "contain", mirrored: matrix !== null && matrix.a < 0 },
  );
}

/** The pixels of an element's own picture. @param {HTMLVideoElement|HTMLImageElement|HTMLCanvasElement} element */
function pixelsOf(element) {
  if (element instanceof HTMLImageElement) return { width: element.naturalWidth, height: element.naturalHeight };
  if (element instanceof HTMLVideoElement) return { width: element.videoWidth, height: element.videoHeight };
  return { width: element.width, height: element.height };
}

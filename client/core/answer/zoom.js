// The closest look, and one step of a key or a button
const MOST = 8;
const STEP = 1.5;

/**
 * The part that is shown of pictures side by side, the same of each. Changed by wheel, fingers, keys and buttons.
 */
export class Zoom {
  #scale = 1;
  // The left upper corner's place, as a part of the picture's size: 0 to 1 - 1 / scale
  #left = 0;
  #top = 0;
  /** @type {Set<HTMLElement|SVGElement>} */
  #pictures = new Set();
  /** @type {Map<number, {x: number, y: number}>} fingers by their pointer, as parts of the frame */
  #fingers = new Map();
  #onChange;

  /** @param {(scale: number) => void} onChange */
  constructor(onChange) {
    this.#onChange = onChange;
  }

  /**
   * Let a picture follow, and what happens on its frame change all.
   * @param {HTMLElement} frame
   * @param {HTMLElement} picture fills the frame
   */
  add(frame, picture) {
    this.#pictures.add(picture);
    const place = (/** @type {MouseEvent} */ { clientX, clientY }) => {
      const { left, top, width, height } = frame.getBoundingClientRect();
      return { x: (clientX - left) / width, y: (clientY - top) / height };
    };
    frame.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.by(Math.exp(-event.deltaY / 300), place(event));
    });
    frame.addEventListener("dblclick", (event) => (this.#scale > 1 ? this.reset() : this.by(3, place(event))));
    frame.addEventListener("pointerdown", (event) => {
      frame.setPointerCapture(event.pointerId);
      if (this.#fingers.size < 2) this.#fingers.set(event.pointerId, place(event));
    });
    frame.addEventListener("pointermove", (event) => this.#moved(event.pointerId, place(event)));
    for (const type of ["pointerup", "pointercancel"]) {
      frame.addEventListener(type, (event) => event instanceof PointerEvent && this.#fingers.delete(event.pointerId));
    }
    frame.addEventListener("keydown", (event) => {
      /** @type {Record<string, [number, number]>} */
      const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key in ways) this.#move(ways[event.key][0] * -0.1, ways[event.key][1] * -0.1);
      else if (event.key === "+") this.by(STEP);
      else if (event.key === "-") this.by(1 / STEP);
      else if (event.key === "0") this.reset();
      else return;
      event.preventDefault();
    });
    this.#draw();
  }

  /** Let something that lies over a picture go along. @param {SVGElement} mark fills its frame */
  follow(mark) {
    this.#pictures.add(mark);
    this.#draw();
  }

  /** Forget all pictures. */
  clear() {
    this.#pictures.clear();
  }

  reset() {
    [this.#scale, this.#left, this.#top] = [1, 0, 0];
    this.#draw();
  }

  /**
   * Come closer, or go back; the point stays where it is.
   * @param {number} factor
   * @param {{x: number, y: number}} [point] part of the frame
   */
  by(factor, { x, y } = { x: 0.5, y: 0.5 }) {
    const before = this.#scale;
    this.#scale = Math.min(MOST, Math.max(1, before * factor));
    this.#left += x / before - x / this.#scale;
    this.#top += y / before - y / this.#scale;
    this.#draw();
  }

  /** @param {number} finger @param {{x: number, y: number}} to */
  #moved(finger, to) {
    const from = this.#fingers.get(finger);
    if (!from) return;
    const [other] = [...this.#fingers].filter(([id]) => id !== finger).map(([, at]) => at);
    this.#fingers.set(finger, to);
    if (!other) return this.#move(to.x - from.x, to.y - from.y);
    const [before, after] = [
      Math.hypot(from.x - other.x, from.y - other.y),
      Math.hypot(to.x - other.x, to.y - other.y),
    ];
    this.#move((to.x - from.x) / 2, (to.y - from.y) / 2);
    if (before > 0.02) this.by(after / before, { x: (to.x + other.x) / 2, y: (to.y + other.y) / 2 });
  }

  /** @param {number} x part of the frame @param {number} y */
  #move(x, y) {
    this.#left -= x / this.#scale;
    this.#top -= y / this.#scale;
    this.#draw();
  }

  #draw() {
    const most = 1 - 1 / this.#scale;
    this.#left = Math.min(most, Math.max(0, this.#left));
    this.#top = Math.min(most, Math.max(0, this.#top));
    const [left, top] = [this.#left, this.#top].map((one) => `${(-100 * one * this.#scale).toFixed(2)}%`);
    const place = `translate(${left}, ${top})`;
    for (const picture of this.#pictures) picture.style.transform = `${place} scale(${this.#scale.toFixed(3)})`;
    this.#onChange(this.#scale);
  }
}

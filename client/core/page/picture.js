import { text } from "../words/text.js";

// Where a box is, by rows from the top, each from the left
const DIRECTIONS = [
  ["page.top_left", "page.top_middle", "page.top_right"],
  ["page.left", "page.middle", "page.right"],
  ["page.bottom_left", "page.bottom_middle", "page.bottom_right"],
];
// Half a side of the box around a point, as a part of the frame's shorter side
const POINT = 0.05;
// A box of which the model is less sure is called uncertain.
const UNSURE = 0.6;

/**
 * The whole picture as an element shows it, in CSS pixels of the element: it may lie partly outside of it (cropped), or
 * fill only a part of it (with bars).
 * @typedef {{left: number, top: number, width: number, height: number, mirrored: boolean}} Shown
 */

/**
 * Left, top, right and bottom as parts of the picture's width and height, 0 to 1.
 * @typedef {[number, number, number, number]} Edges
 */

/**
 * @param {{width: number, height: number}} element @param {{width: number, height: number}} picture its own pixels
 * @param {{whole: boolean, mirrored?: boolean}} how whole: with bars (object-fit: contain), else cropped (cover)
 * @returns {Shown|null} null without a picture or a place for it
 */
export function shownPicture(element, picture, { whole, mirrored = false }) {
  if (!(picture.width > 0 && picture.height > 0 && element.width > 0 && element.height > 0)) return null;
  const scales = [element.width / picture.width, element.height / picture.height];
  const scale = whole ? Math.min(...scales) : Math.max(...scales);
  const width = picture.width * scale;
  const height = picture.height * scale;
  return { left: (element.width - width) / 2, top: (element.height - height) / 2, width, height, mirrored };
}

/**
 * @param {Edges} box
 * @param {Shown} shown
 * @returns {{left: number, top: number, width: number, height: number}} in CSS pixels of the element
 */
export function toElement([x1, y1, x2, y2], shown) {
  const [left, right] = shown.mirrored ? [1 - x2, 1 - x1] : [x1, x2];
  return {
    left: shown.left + left * shown.width,
    top: shown.top + y1 * shown.height,
    width: (right - left) * shown.width,
    height: (y2 - y1) * shown.height,
  };
}

/**
 * @param {{x: number, y: number}} point in CSS pixels of the element
 * @param {Shown} shown
 * @returns {{x: number, y: number}|null} parts of the picture; null beside it
 */
export function toPicture({ x, y }, shown) {
  const across = (x - shown.left) / shown.width;
  const down = (y - shown.top) / shown.height;
  if (across < 0 || across > 1 || down < 0 || down > 1) return null;
  return { x: shown.mirrored ? 1 - across : across, y: down };
}

/**
 * Where a box is, for people who do not see it.
 * @param {Edges} box
 * @param {boolean} [mirrored]
 * @returns {string} such as "left, upper third"
 */
export function direction([x1, y1, x2, y2], mirrored = false) {
  const middle = (x1 + x2) / 2;
  const x = mirrored ? 1 - middle : middle;
  const y = (y1 + y2) / 2;
  const across = x < 1 / 3 ? 0 : x > 2 / 3 ? 2 : 1;
  return text(DIRECTIONS[y < 1 / 3 ? 0 : y > 2 / 3 ? 2 : 1][across]);
}

/**
 * Boxes of an answer as parts of its frame; a point gets a box around it.
 * @param {import("../live/messages.d.ts").FoundBox[]} boxes @param {import("../live/messages.d.ts").FrameInfo} frame
 * @returns {{box: Edges, label: string, unsure: boolean}[]}
 */
export function partsOf(boxes, { source_width: width, source_height: height }) {
  const around = POINT * Math.min(width, height);
  return boxes.flatMap(({ box, point, label, confidence = 1 }) => {
    const [x1, y1, x2, y2] =
      box ?? (point ? [point[0] - around, point[1] - around, point[0] + around, point[1] + around] : []);
    if (x1 === undefined || !(width > 0 && height > 0)) return [];
    /** @type {Edges} */
    const parts = [within(x1 / width), within(y1 / height), within(x2 / width), within(y2 / height)];
    return [{ box: parts, label: label || text("page.found"), unsure: confidence < UNSURE }];
  });
}

/**
 * Where the things are that a question asked for, in sentences.
 * @param {import("../live/messages.d.ts").FoundBox[]} boxes @param {import("../live/messages.d.ts").FrameInfo} frame
 */
export function places(boxes, frame) {
  return partsOf(boxes, frame).map(({ box, label, unsure }) => {
    const name = `${label[0].toUpperCase()}${label.slice(1)}`;
    return text("page.thing_place", {
      thing: unsure ? text("page.unsure", { thing: name }) : name,
      place: direction(box),
    });
  });
}

/** @param {number} part */
function within(part) {
  return Math.min(1, Math.max(0, part));
}

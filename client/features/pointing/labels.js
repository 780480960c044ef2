/** Places for the labels of boxes: each beside its box, and none on another label. Uses no DOM. */

/**
 * A box and its label, in CSS pixels.
 * @typedef {Object} Labelled
 * @property {number} left @property {number} top @property {number} width @property {number} height
 * @property {number} beyond by which the label is moved into the picture
 * @property {"left"|"right"} side the box's edge that the label begins at
 * @property {{width: number, height: number}} label one without a width is not seen, and on no other one
 */

/**
 * @typedef {"above"|"below"|"inside"|"within"|"none"} Place inside: at the upper edge of its box; within: in a box that
 *   covers the picture, below the page's bar; none: seen only while its box has the focus
 */

// Space above or below a box for its label
const SPACE = 34;
// As in marks.css: between a box and its label, a box's border, and from the top of the picture to a label in it
const [GAP, BORDER, BELOW_BAR] = [6, 3, 68];

/**
 * Choose a place for each label. The first ones have the choice.
 * @param {Labelled[]} boxes @param {{top: number, bottom: number}} area where labels may be
 * @returns {Place[]}
 */
export function labelPlaces(boxes, area) {
  /** @type {{left: number, top: number, right: number, bottom: number}[]} */
  const taken = [];
  return boxes.map((box) => {
    for (const place of candidates(box, area)) {
      const one = rectangle(box, place);
      if (box.label.width > 0) {
        if (taken.some((other) => overlap(one, other))) continue;
        taken.push(one);
      }
      return place;
    }
    return "none";
  });
}

/** @param {Labelled} box @param {{top: number, bottom: number}} area @returns {Place[]} the best first */
function candidates({ top, height, label }, area) {
  const above = top - SPACE >= area.top;
  const below = top + height + SPACE <= area.bottom;
  /** @type {Place[]} */
  const found = [];
  if (above) found.push("above");
  if (below) found.push("below");
  if (!above && !below) found.push("within");
  if (top + GAP >= area.top && height >= label.height + 2 * GAP) found.push("inside");
  return found;
}

/** @param {Labelled} box @param {Place} place */
function rectangle({ left, top, width, height, beyond, side, label }, place) {
  const inset = beyond + (place === "inside" ? GAP : -BORDER);
  const x = side === "right" ? left + width - inset - label.width : left + inset;
  const y =
    place === "above" ? top - GAP - label.height
    : place === "below" ? top + height + GAP
    : top + (place === "inside" ? GAP : BELOW_BAR);
  return { left: x, top: y, right: x + label.width, bottom: y + label.height };
}

/** @param {ReturnType<typeof rectangle>} one @param {ReturnType<typeof rectangle>} other */
function overlap(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}

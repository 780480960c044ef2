import { joined, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").AimHint} AimHint */
/** @typedef {import("../../core/live/messages.d.ts").Target} Target */

/** @type {Record<AimHint["hint"], string>} */
const WORDS = {
  dark: "guide.dark",
  blurred: "guide.hold_still",
  nothing: "guide.no_text",
  back: "guide.too_close",
  closer: "guide.too_far",
  left_edge: "guide.text_left",
  right_edge: "guide.text_right",
  upper_edge: "guide.text_top",
  lower_edge: "guide.text_bottom",
  left: "guide.left",
  right: "guide.right",
  up: "guide.up",
  down: "guide.down",
  good: "guide.good",
};

/** @type {Partial<Record<AimHint["hint"], string>>} */
const FACE = {
  left_edge: "guide.face_left",
  right_edge: "guide.face_right",
  upper_edge: "guide.face_top",
  lower_edge: "guide.face_bottom",
};
/** @param {AimHint["hint"]} hint @param {AimHint["about"]} about @returns {string} */
export function wordsOf(hint, about) {
  return text((about === "face" && FACE[hint]) || WORDS[hint] || "");
}

/** How far away it is. @param {import("./course.js").Far} far @returns {string} */
function farWords(far) {
  if (typeof far === "number") return text("lead.metres", { metres: far });
  return far && text(far === "reach" ? "lead.reach" : "lead.arm");
}

/**
 * The sentence on the way to a thing.
 * @param {{id: string, hour?: number, size?: string, far?: import("./course.js").Far}} sentence
 * @param {string} thing
 * @param {boolean} [print] it is words that are looked for
 * @returns {string}
 */
export function leadWords({ id, hour = 12, size = "", far = "" }, thing, print = false) {
  return text(print && id === "lead.looking" ? "lead.looking_words" : id, {
    thing,
    hour,
    size: size && text(size),
    far: farWords(far),
  });
}

/** @type {Record<Target["kind"], string>} */
const FINDERS = {
  thing: "lead.by_detector",
  text: "lead.by_text",
  code: "lead.by_code",
  face: "lead.by_face",
  colour: "lead.by_colour",
};
/** The detector that found something, in words. @param {Target} target @returns {string} */
export function finderWords({ kind, by_model: model, confirmed }) {
  const by = text(model ? "lead.by_model" : FINDERS[kind]);
  return confirmed ? joined([by, text("lead.by_twice")]) : by;
}

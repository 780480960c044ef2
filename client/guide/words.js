import { text } from "../words/text.js";

/** @typedef {import("../live/messages.js").AimHint} AimHint */

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

// While a text is read: what is cut off goes on there.
/** @type {Partial<Record<AimHint["hint"], string>>} */
const READING = {
  nothing: "guide.no_text",
  left_edge: "guide.left",
  right_edge: "guide.right",
  upper_edge: "guide.up",
  lower_edge: "guide.move_down",
};
/** @type {Partial<Record<AimHint["hint"], string>>} */
const FACE = {
  left_edge: "guide.face_left",
  right_edge: "guide.face_right",
  upper_edge: "guide.face_top",
  lower_edge: "guide.face_bottom",
};
export const READ = "guide.read_to_end";

/** @param {AimHint["hint"]} hint what helps to read on */
export function readingWords(hint) {
  return text(READING[hint] ?? WORDS[hint] ?? "");
}

/** @param {AimHint["hint"]} hint @param {AimHint["about"]} about @returns {string} */
export function wordsOf(hint, about) {
  return text((about === "face" && FACE[hint]) || WORDS[hint] || "");
}

import { key, text } from "../words/text.js";

/** @typedef {import("../live/messages.js").AimHint} AimHint */

/** @type {Record<AimHint["hint"], string>} */
const WORDS = {
  dark: key("Too dark"),
  blurred: key("Hold still"),
  nothing: key("No text in view"),
  back: key("Too close"),
  closer: key("Too far"),
  left_edge: key("Text at the left edge"),
  right_edge: key("Text at the right edge"),
  upper_edge: key("Text at the upper edge"),
  lower_edge: key("Text at the lower edge"),
  left: key("A little to the left"),
  right: key("A little to the right"),
  up: key("A little up"),
  down: key("A little down"),
  good: key("Good, hold still"),
};

// While a text is read: what is cut off goes on there.
/** @type {Partial<Record<AimHint["hint"], string>>} */
const READING = {
  nothing: key("No text in view"),
  left_edge: key("A little to the left"),
  right_edge: key("A little to the right"),
  upper_edge: key("A little up"),
  lower_edge: key("Move down"),
};
/** @type {Partial<Record<AimHint["hint"], string>>} */
const FACE = {
  left_edge: key("Face at the left edge"),
  right_edge: key("Face at the right edge"),
  upper_edge: key("Face at the upper edge"),
  lower_edge: key("Face at the lower edge"),
};
export const READ = key("That is the end.");

/** @param {AimHint["hint"]} hint what helps to read on */
export function readingWords(hint) {
  return text(READING[hint] ?? WORDS[hint] ?? "");
}

/** @param {AimHint["hint"]} hint @param {AimHint["about"]} about @returns {string} */
export function wordsOf(hint, about) {
  return text((about === "face" && FACE[hint]) || WORDS[hint] || "");
}

/** @typedef {import("../live/messages.js").AimHint} AimHint */

/** @type {Record<AimHint["hint"], string>} */
const WORDS = {
  dark: "Too dark",
  blurred: "Hold still",
  nothing: "No text in view",
  back: "Too close",
  closer: "Too far",
  left_edge: "at the left edge",
  right_edge: "at the right edge",
  upper_edge: "at the upper edge",
  lower_edge: "at the lower edge",
  left: "A little to the left",
  right: "A little to the right",
  up: "A little up",
  down: "A little down",
  good: "Good, hold still",
};

// While a text is read: what is cut off goes on there.
/** @type {Partial<Record<AimHint["hint"], string>>} */
const READING = {
  nothing: "No text in view",
  left_edge: "A little to the left",
  right_edge: "A little to the right",
  upper_edge: "A little up",
  lower_edge: "Move down",
};
export const READ = "That is the end.";

/** @param {AimHint["hint"]} hint what helps to read on */
export function readingWords(hint) {
  return READING[hint] ?? WORDS[hint] ?? "";
}

/** @param {AimHint["hint"]} hint @param {AimHint["about"]} about @returns {string} */
export function wordsOf(hint, about) {
  const words = WORDS[hint] ?? "";
  return hint.endsWith("_edge") ? `${about === "face" ? "Face" : "Text"} ${words}` : words;
}

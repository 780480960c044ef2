import { ended, text } from "../../core/words/text.js";

/**
 * Something that is wrong, in the words that the page shows.
 * @typedef {Object} Problem
 * @property {"camera"|"light"|"connection"|"engine"} kind
 * @property {string} tone
 * @property {string} title
 * @property {string} text
 */

const BACK = {
  camera: "voice.camera_back",
  light: "",
  connection: "voice.connection_back",
  engine: "voice.answers_back",
};

/** @param {Problem} problem @param {"short"|"normal"|"full"} verbosity @returns {string} "" for nothing to say */
export function problemWords({ kind, tone, title, text }, verbosity) {
  if (verbosity === "short") return tone === "bad" || kind === "camera" ? ended(title) : "";
  // Advice is of use where the user can follow it.
  return verbosity === "full" || kind === "light" || kind === "camera" ? `${ended(title)} ${text}` : ended(title);
}

/** @param {Problem} over @param {"short"|"normal"|"full"} verbosity */
export function backWords({ kind, tone }, verbosity) {
  if (verbosity === "short" && tone !== "bad" && kind !== "camera") return "";
  return kind === "light" && verbosity === "full" ? text("voice.picture_good") : text(BACK[kind]);
}

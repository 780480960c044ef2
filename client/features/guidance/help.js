/** The help with aiming the camera that somebody has chosen. */

import { oneOf, settings } from "../../core/page/settings.js";

/** Each has what those after it have. @type {["spoken", "tones", "shown", "none"]} */
const HELP = ["spoken", "tones", "shown", "none"];

/** The chosen setting. */
export function help() {
  return oneOf(settings().help, HELP);
}

/** Return whether tones are on. */
export function tones() {
  return help() === "tones" || help() === "spoken";
}

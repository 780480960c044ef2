/** The help with aiming the camera that somebody has chosen. */

import { oneOf, settings } from "../../core/page/settings.js";

/** Each has what those after it have. @type {["spoken", "tones", "shown", "none"]} */
const HELP = ["spoken", "tones", "shown", "none"];

/** What was chosen. */
export function help() {
  return oneOf(settings().help, HELP);
}

/** Find whether tones are wanted. */
export function tones() {
  return help() === "tones" || help() === "spoken";
}

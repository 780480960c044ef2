/** Lengths of time in the panel. Uses no DOM. */

import { number, text } from "../words/text.js";

/** @param {number} seconds @returns {string} such as "5 min" */
export function lasted(seconds) {
  // No line may end between a number and its unit.
  if (seconds < 60) return text("{number}\u00a0s", { number: number(seconds) });
  if (seconds < 3600) return text("{number}\u00a0min", { number: number(Math.floor(seconds / 60)) });
  if (seconds < 86_400) return text("{number}\u00a0h", { number: number(Math.floor(seconds / 3600)) });
  return text("{number}\u00a0d", { number: number(Math.floor(seconds / 86_400)) });
}

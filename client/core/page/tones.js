import { playNotes } from "./notes.js";

/** @typedef {import("./notes.js").Note} Note */

// Two that rise, and a low one
/** @type {Note[]} */
const GOOD = [
  [659, 0],
  [988, 0.09],
];
/** @type {Note[]} */
const NOT_YET = [[330, 0]];
const SECONDS = 0.12;
const LOUDNESS = 0.12;

/** A short, quiet tone: the picture is good. */
export function goodTone() {
  playNotes(GOOD, SECONDS, LOUDNESS);
}

/** A low one: something is to be done before the picture is good. */
export function notYetTone() {
  playNotes(NOT_YET, SECONDS, LOUDNESS);
}

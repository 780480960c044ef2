/** The words for what is around somebody, and for the way to turn. */

import { list, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").ScannedThing} ScannedThing */

// By eighths of a turn, to the right
const SIDES = [
  ...["scan.front", "scan.front_right", "scan.right", "scan.back_right"],
  ...["scan.back", "scan.back_left", "scan.left", "scan.front_left"],
];
// A shorter turn (degrees) counts as incomplete.
const WHOLE = 300;

/** The words of a direction. @param {number} degrees left negative */
function side(degrees) {
  return text(SIDES[(Math.round(degrees / 45) + 8) % 8]);
}

/** @param {ScannedThing} thing */
function nameOf({ kind, label }) {
  if (kind === "code") return text("scan.code");
  return kind === "text" ? `“${label}”` : label;
}

/**
 * Describe the surroundings, one sentence for each direction, in the order of the things.
 * @param {import("../../core/live/messages.d.ts").Scanned} scanned
 * @returns {string[]}
 */
export function aroundLines({ turned, end, things = [] }) {
  /** @type {Map<string, Map<string, number>>} */
  const sides = new Map();
  for (const thing of things) {
    const where = side(thing.degrees);
    const names = sides.get(where) ?? new Map();
    const name = nameOf(thing);
    names.set(name, (names.get(name) ?? 0) + 1);
    sides.set(where, names);
  }
  const lines = [...sides].map(([where, names]) => {
    const each = [...names].map(([name, count]) => (count > 1 ? `${name} (${count})` : name));
    return text("scan.line", { where, things: list(each) });
  });
  if (lines.length === 0) lines.push(text("scan.none"));
  const degrees = Math.abs(turned);
  if (end === "lost") lines.push(text("scan.lost"));
  else if (degrees < WHOLE) lines.push(text("scan.part", { degrees }));
  return lines;
}

/** Where something was. @param {import("../../core/live/messages.d.ts").Bearing} bearing @returns {string} */
export function bearingWords({ thing, found, count, lost }) {
  if (lost) return text("scan.lost");
  if (!found) return text("scan.unseen", { thing });
  const line = text("scan.line", { where: side(found.degrees), things: nameOf(found) });
  return count > 1 ? `${line} ${text("scan.nearest", { number: count })}` : line;
}

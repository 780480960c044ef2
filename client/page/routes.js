/** @typedef {"now"|"detail"|"past"|"where"|"read"} Route where a question looks */

/** @type {[Route, string][]} the ways to look, by the words on their buttons */
const WAYS = [
  ["now", "Now"],
  ["detail", "In detail"],
  ["past", "Last minutes"],
  ["where", "Where"],
  ["read", "Read on"],
];

/** @param {boolean} past the server has pictures of the past @param {boolean} reads it reads on over several pictures */
export function waysToLook(past, reads) {
  return WAYS.filter(([route]) => (past || route !== "past") && (reads || route !== "read"));
}

/**
 * A word or two for where an answer looked, such as "now" or "last 60 s"; "" for a description.
 * @param {{route?: Route, frames?: {captured_at: number}[], frame?: {captured_at: number}}} response
 */
export function lookedAt({ route, frames, frame }) {
  if (route === "past" && frame && frames?.length) return `last\u00a0${span(frame.captured_at - frames[0].captured_at)}`;
  return route === "read" ? "read on" : (route ?? "");
}

/** @param {number} ms @returns {string} such as "42 s ago" */
export function ago(ms) {
  return `${span(ms)} ago`;
}

/** @param {number} ms */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  // No line may end between a number and its unit.
  return seconds < 100 ? `${seconds}\u00a0s` : `${Math.round(seconds / 60)}\u00a0min`;
}

import { number, text } from "../words/text.js";

/** @typedef {"now"|"detail"|"twice"|"past"|"where"|"read"} Route where a question looks */

/** @type {[Route, string][]} the ways to look, by the words on their buttons */
const WAYS = [
  ["now", "page.way_now"],
  ["detail", "page.way_detail"],
  ["twice", "page.way_twice"],
  ["past", "page.way_past"],
  ["where", "page.way_where"],
  ["read", "page.way_read"],
];

/** @type {Record<Route, string>} */
const LOOKED = {
  now: "page.looked_now",
  detail: "page.looked_detail",
  twice: "page.looked_twice",
  past: "page.looked_past",
  where: "page.looked_where",
  read: "page.looked_read",
};

/** @param {(route: Route) => boolean} offered */
export function waysToLook(offered) {
  return WAYS.filter(([route]) => offered(route)).map(
    ([route, words]) => /** @type {[Route, string]} */ ([route, text(words)]),
  );
}

/**
 * A word or two for where an answer looked, such as "now" or "last 60 s"; "" for a description.
 * @param {{route?: Route, frames?: {captured_at: number}[], frame?: {captured_at: number}}} response
 */
export function lookedAt({ route, frames, frame }) {
  if (route === "past" && frame && frames?.length)
    return text("page.last_time", { time: span(frame.captured_at - frames[0].captured_at) });
  return route ? text(LOOKED[route]) : "";
}

/** @param {number} ms @returns {string} such as "42 s ago" */
export function ago(ms) {
  return text("page.ago", { time: span(ms) });
}

/** @param {number} ms */
export function span(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  // No line may end between a number and its unit.
  if (seconds < 100) return text("page.seconds", { number: number(seconds) });
  return text("page.minutes", { number: number(Math.round(seconds / 60)) });
}

/** @param {number} ms */
export function duration(ms) {
  // No line may end between a number and its unit.
  if (ms < 10) return text("page.milliseconds", { number: number(ms, 1) });
  if (ms < 1000) return text("page.milliseconds", { number: number(ms) });
  if (ms < 60_000) return text("page.seconds", { number: number(ms / 1000, ms < 10_000 ? 2 : 1) });
  return text("page.minutes", { number: number(ms / 60_000) });
}

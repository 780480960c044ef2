import { engineName } from "../../core/page/words.js";
import { clock, ended, fromServer, joined, plural, text } from "../../core/words/text.js";

/** @typedef {import("../../core/live/messages.d.ts").WatchInfo} WatchInfo */

/**
 * @param {WatchInfo[]} watches @param {number} waiting orders that the server has not yet
 * @param {{over?: string, stopped?: boolean, off?: boolean}} [last] the condition that ended last; a watch was stopped
 *   a
 *   moment ago; the camera is off
 */
export function summary(watches, waiting, { over, stopped, off } = {}) {
  const on = watches.filter((one) => !one.ended);
  const cannot = on.filter((one) => one.state === "cannot");
  const count = on.length + waiting;
  if (count === 0 && stopped) return text("watch.stopped");
  if (count === 0) return over ? text("watch.finished", { condition: over }) : text("watch.none");
  if (off) return `${text("watch.paused")} ${plural("watch.count", count)}`;
  const what =
    on.length === 1 && !waiting
      ? text("watch.watching_for", { condition: on[0].condition })
      : plural("watch.count", count);
  if (cannot.length === 0) return what;
  if (cannot.length === on.length) return cannotWords(cannot[0].reason);
  return joined([what, plural("watch.cannot_count", cannot.length)]);
}

/** @param {string} reason the server's, for which nothing is watched */
export function cannotWords(reason) {
  return `${text("watch.cannot")} ${reasonWords(reason)}`;
}

/** @param {string} reason the server's; that of a find is in the condition's language, or a model's */
function reasonWords(reason) {
  return reason && ended(fromServer(reason, reason));
}

/** @param {WatchInfo} one */
export function stateOf(one) {
  if (one.state === "cannot") return cannotWords(one.reason);
  const reason = reasonWords(one.reason);
  if (one.state === "paused") return `${text("watch.paused")} ${reason}`;
  if (one.state === "expired") return text("watch.over");
  if (one.state === "seen") {
    const seen = one.ended ? text("watch.seen", { time: clock(one.looked_at ?? 0) }) : text("watch.so_now");
    return `${seen} ${reason}`;
  }
  const by = one.model ? text("watch.by_model", { model: engineName(one.model) }) : "";
  const watching = one.looked_at
    ? [text("watch.last_look", { time: clock(one.looked_at) }), reason]
    : [text("watch.watching")];
  return [...watching, by].filter(Boolean).join(" ");
}

/** @param {number} minute of the day */
export function timeOfDay(minute) {
  return `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
}

/** @param {[number, number]|undefined} hours @param {number|undefined} until milliseconds since the epoch */
export function whenWords(hours, until) {
  const [from, to] = (hours ?? []).map(timeOfDay);
  const day = hours ? text("watch.between", { from, to }) : text("watch.any_time");
  return joined([day, until ? text("watch.until", { time: clock(until) }) : text("watch.until_stop")]);
}

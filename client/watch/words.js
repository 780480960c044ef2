import { clock, plural, text } from "../words/text.js";

/** @typedef {import("../live/watchmessages.js").WatchInfo} WatchInfo */

/** @param {WatchInfo[]} watches @param {number} waiting orders that the server has not yet */
export function summary(watches, waiting) {
  const on = watches.filter((one) => !one.over);
  const cannot = on.filter((one) => one.state === "cannot");
  const count = on.length + waiting;
  if (count === 0) return text("No watch is on");
  const what = on.length === 1 && !waiting ? text("Watching: {condition}", { condition: on[0].condition }) : plural("{count} watches", "1 watch", count);
  if (cannot.length === 0) return what;
  if (cannot.length === on.length) return text("Cannot watch now: {reason}", { reason: cannot[0].reason });
  return `${what}, ${plural("{count} cannot watch now", "1 cannot watch now", cannot.length)}`;
}

/** @param {WatchInfo} one */
export function stateOf(one) {
  const reason = one.reason && !/[.!?…]$/.test(one.reason) ? `${one.reason}.` : one.reason;
  if (one.state === "cannot") return `${text("Cannot watch now.")} ${reason}`;
  if (one.state === "paused") return `${text("Paused.")} ${reason}`;
  if (one.state === "expired") return text("Over: its time is up.");
  if (one.state === "seen") return `${one.over ? text("Seen.") : text("It is so now. It rings when it begins anew.")} ${reason}`;
  return one.looked_at ? `${text("Watching. Last look at {time}.", { time: clock(one.looked_at) })} ${reason}` : text("Watching.");
}

/** @param {number} minute of the day */
export function timeOfDay(minute) {
  return `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
}

/** @param {[number, number]|undefined} hours @param {number|undefined} until milliseconds since the epoch */
export function whenWords(hours, until) {
  const [from, to] = (hours ?? []).map(timeOfDay);
  const day = hours ? text("Between {from} and {to}", { from, to }) : text("At any time");
  return `${day}, ${until ? text("until {time}", { time: clock(until) }) : text("until I say stop")}`;
}

/** @typedef {import("../live/watchmessages.js").WatchInfo} WatchInfo */

/** @param {WatchInfo[]} watches @param {number} waiting orders that the server has not yet */
export function summary(watches, waiting) {
  const on = watches.filter((one) => !one.over);
  const cannot = on.filter((one) => one.state === "cannot");
  const count = on.length + waiting;
  if (count === 0) return "No watch is on";
  const what = on.length === 1 && !waiting ? `Watching: ${on[0].condition}` : `${count} watches`;
  if (cannot.length === 0) return what;
  return cannot.length === on.length ? `Cannot watch now: ${cannot[0].reason}` : `${what}, ${cannot.length} cannot watch now`;
}

/** @param {WatchInfo} one */
export function stateOf(one) {
  const reason = one.reason && !/[.!?…]$/.test(one.reason) ? `${one.reason}.` : one.reason;
  if (one.state === "cannot") return `Cannot watch now. ${reason}`;
  if (one.state === "paused") return `Paused. ${reason}`;
  if (one.state === "expired") return "Over: its time is up.";
  if (one.state === "seen") return one.over ? `Seen. ${reason}` : `It is so now. It rings when it begins anew. ${reason}`;
  return one.looked_at ? `Watching. Last look at ${clock(one.looked_at)}. ${reason}` : "Watching.";
}

/** @param {number} at milliseconds since the epoch */
export function clock(at) {
  return new Date(at).toLocaleTimeString([], { hour12: false });
}

/** @param {number} minute of the day */
export function timeOfDay(minute) {
  return `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
}

/** @param {[number, number]|undefined} hours @param {number|undefined} until milliseconds since the epoch */
export function whenWords(hours, until) {
  const day = hours ? `Between ${timeOfDay(hours[0])} and ${timeOfDay(hours[1])}` : "At any time";
  return until ? `${day}, until ${clock(until)}` : `${day}, until I say stop`;
}

import { clock, ended, joined, key, plural, text } from "../words/text.js";

/** @typedef {import("../live/watchmessages.js").WatchInfo} WatchInfo */

/** Reasons of the server for which nothing is watched. Those of a find are in the condition's language, or a model's. */
export const REASONS = [
  key("The built-in engine watches for a word, any text, a code, a colour, a face, motion or the light. For more a vision-language model is needed."),
  key("The built-in engine finds no faces here, since the face model is not installed."),
  key("No model answers right now."),
  key("Pictures may not go to the machine of the model that answers now. Agree on the page, and it goes on."),
  key("The camera is off."),
  key("The camera is starting."),
  key("No new pictures come from the camera."),
];

/** @param {WatchInfo[]} watches @param {number} waiting orders that the server has not yet */
export function summary(watches, waiting) {
  const on = watches.filter((one) => !one.over);
  const cannot = on.filter((one) => one.state === "cannot");
  const count = on.length + waiting;
  if (count === 0) return text("No watch is on");
  const what = on.length === 1 && !waiting ? text("Watching: “{condition}”", { condition: on[0].condition }) : plural("{count} watches", "1 watch", count);
  if (cannot.length === 0) return what;
  if (cannot.length === on.length) return text("Cannot watch now: {reason}", { reason: text(cannot[0].reason) });
  return joined([what, plural("{count} cannot watch now", "1 cannot watch now", cannot.length)]);
}

/** @param {WatchInfo} one */
export function stateOf(one) {
  const reason = one.reason && ended(text(one.reason));
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
  return joined([day, until ? text("until {time}", { time: clock(until) }) : text("until I say stop")]);
}

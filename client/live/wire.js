/** Reads what comes over the socket; messages.js describes it. */

const KNOWN = new Set([
  "ready",
  "status",
  "sender",
  "transcript",
  "speaking",
  "say",
  "listening",
  "waiting",
  "started",
  "delta",
  "thinking",
  "response",
  "unchanged",
  "change",
  "watches",
  ...["alert", "webhooks", "home_assistant"],
  "recall",
  "aim",
  "reading",
  "still",
  "engine",
  "log",
  ...["handover", "resumed", "moved", "cameras", "programs", "look"],
  "error",
  "pong",
]);

/**
 * @param {unknown} raw
 * @returns {import("./messages.js").ServerMessage|null} null for an unknown message, for example of a newer server
 */
export function parse(raw) {
  if (typeof raw !== "string") return null;
  let data;
  try {
    data = JSON.parse(raw);
  } catch {
    return null; // malformed; the connection continues
  }
  return data !== null && typeof data === "object" && KNOWN.has(data.type) ? data : null;
}

/** Milliseconds since the epoch by the clock that the browser uses in the video's sender reports. */
export function pageTime() {
  return performance.timeOrigin + performance.now();
}

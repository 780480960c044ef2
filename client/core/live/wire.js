/** Reads what comes over the socket; messages.d.ts describes it. */

/**
 * @param {unknown} raw
 * @returns {import("./messages.d.ts").ServerMessage|null} null for what is no message; one that nobody knows, as of a newer server, is dropped later
 */
export function parse(raw) {
  if (typeof raw !== "string") return null;
  let data;
  try {
    data = JSON.parse(raw);
  } catch {
    return null; // malformed; the connection continues
  }
  return data !== null && typeof data === "object" && typeof data.type === "string" ? data : null;
}

/** Milliseconds since the epoch by the clock that the browser uses in the video's sender reports. */
export function pageTime() {
  return performance.timeOrigin + performance.now();
}

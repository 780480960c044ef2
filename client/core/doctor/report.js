/** @typedef {import("./doctor.js").Result} Result */

/** @type {Record<Result["state"], string>} */
const WORDS = { ok: "ok", warn: "LOOK", failed: "FAILED", skipped: "-", running: "..." };

/**
 * Write the doctor's results for the operator of the server. The text contains no token, code, id or credential, and
 * only the beginning of addresses.
 * @param {Result[]} results @param {{began: Date, took: number}} times took in milliseconds
 * @param {string[]} secrets removed wherever they occur, as a second protection: results contain none
 */
export function report(results, { began, took }, secrets) {
  const lines = results.flatMap(({ title, state, text, cause, todo }) => [
    `${WORDS[state].padEnd(6)} ${title}: ${text}`,
    ...(cause ? [`       Cause: ${cause}`] : []),
    ...(todo ? [`       To do: ${todo}`] : []),
  ]);
  let found = withoutAddresses(lines.join("\n"));
  for (const secret of secrets) if (secret) found = found.replaceAll(secret, "[removed]");
  const head = [
    "qwen-camera, connection check",
    `${began.toISOString()}, took ${(took / 1000).toFixed(1)} s`,
    `Page: ${location.protocol.slice(0, -1)}, ${kindOf(location.hostname)}`,
    `Browser: ${navigator.userAgent}`,
  ];
  return `${head.join("\n")}\n\n${found}\n`;
}

/** @param {string} host */
function kindOf(host) {
  if (host === "localhost") return "localhost";
  return /^[\d.]+$|:/.test(host) ? "an IP address" : "a name";
}

/** @param {string} text */
export function withoutAddresses(text) {
  return text
    .replace(/\b(\d{1,3}\.\d{1,3})\.\d{1,3}\.\d{1,3}\b/g, "$1.x.x")
    .replace(
      /(?<![\w:])[\da-f]{1,4}:(?:[\da-f]{0,4}:){1,6}[\da-f]{0,4}/gi,
      (found) => `${found.slice(0, found.indexOf(":"))}:x`,
    )
    .replace(/[\w-]+\.local\b/g, "x.local");
}

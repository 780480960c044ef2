/** HTTP requests to the server: JSON in, JSON out, one error type. */

import { problem, text } from "../words/text.js";

export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, retryable?: boolean, retryAfter?: number, sentence?: string}} [facts]
   *   status 0: the server could not be reached; retryAfter in seconds; sentence: the server's own, in English
   */
  constructor(message, { status = 0, code = "unreachable", retryable = true, retryAfter = 0, sentence = "" } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
    this.sentence = sentence;
  }
}

/**
 * @param {"GET"|"POST"|"PATCH"|"DELETE"} method
 * @param {string} path
 * @param {{token?: string|null, body?: object, timeout?: number, keepalive?: boolean, as?: "json"|"blob"}} [options]
 *   timeout in milliseconds; keepalive lets the request outlive the page
 * @returns {Promise<any>} the parsed body, an empty object without one, or a Blob if requested
 * @throws {ApiError}
 */
export async function request(
  method,
  path,
  { token = null, body, timeout = 10_000, keepalive = false, as = "json" } = {},
) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let reply;
  try {
    reply = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      keepalive,
      cache: "no-store",
      credentials: "same-origin",
      signal: AbortSignal.timeout(timeout),
    });
  } catch {
    throw new ApiError(text("live.unreachable"));
  }
  if (reply.ok && as === "blob") {
    try {
      return await reply.blob();
    } catch {
      throw new ApiError(text("live.cut_off"));
    }
  }
  // A body that is not JSON comes from a proxy, and is ignored.
  const data = await reply.json().catch(() => ({}));
  if (reply.ok) return data;
  const error = data.error ?? {};
  const answered = text("live.status", { status: String(reply.status) });
  throw new ApiError(error.message ? problem(error.code, error.message) : answered, {
    status: reply.status,
    code: error.code ?? "internal",
    retryable: error.retryable ?? (reply.status >= 500 || reply.status === 429),
    retryAfter: Number(reply.headers.get("Retry-After")) || 0,
    sentence: error.message,
  });
}

// Id of this page: 72 random bits
const PAGE = Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, "0")).join(
  "",
);

/**
 * Add this page's id and the attempt's number to a URL, so that the server recognises an abandoned attempt that arrives
 * late, after a cut.
 * @param {string} address
 * @param {number} attempt from 1 on; grows with each attempt of its kind, and with its end
 * @returns {string}
 */
export function numbered(address, attempt) {
  return `${address}${address.includes("?") ? "&" : "?"}page=${PAGE}&attempt=${attempt}`;
}

/** Path of the server's own certificate authority, if it has one (run.sh --https). */
const AUTHORITY = "/ca.crt";

/**
 * True when the server has a certificate authority of its own. A response also proves that https works here.
 * @returns {Promise<boolean>}
 */
export async function hasOwnAuthority() {
  if (location.protocol !== "https:") return false;
  try {
    return (await fetch(AUTHORITY, { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false; // unreachable: a problem of the network
  }
}

/** Reads what comes over the socket; messages.d.ts describes it. */

/**
 * @param {unknown} raw
 * @returns {import("./messages.d.ts").ServerMessage|null} null for what is no message; one that nobody knows, as of a
 *   newer server, is dropped later
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

// Milliseconds for which an outage counts as short, so that retries stay frequent.
const SHORT = 90_000;

/**
 * Waiting times that double up to a limit, which is low at first and high for a long outage. Half of each is random, so
 * that pages do not reconnect all at once.
 */
export class Backoff {
  #attempt = 0;
  // performance.now() of the first failure; null without one
  #since = /** @type {number|null} */ (null);

  /**
   * @param {number} [least] milliseconds that the server requested
   * @returns {number} milliseconds
   */
  next(least = 0) {
    const now = performance.now();
    this.#since ??= now;
    const most = now - this.#since < SHORT ? 2000 : 15_000;
    const full = Math.min(most, 400 * 2 ** this.#attempt);
    this.#attempt = Math.min(this.#attempt + 1, 16);
    return least + full / 2 + (Math.random() * full) / 2;
  }

  reset() {
    this.#attempt = 0;
    this.#since = null;
  }
}

/** HTTP requests to the server: JSON in, JSON out, one error type. */

export class ApiError extends Error {
  /**
   * @param {string} message
   * @param {{status?: number, code?: string, retryable?: boolean, retryAfter?: number}} [facts]
   *   status 0: the server could not be reached; retryAfter in seconds
   */
  constructor(message, { status = 0, code = "unreachable", retryable = true, retryAfter = 0 } = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.retryable = retryable;
    this.retryAfter = retryAfter;
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
export async function request(method, path, { token = null, body, timeout = 10_000, keepalive = false, as = "json" } = {}) {
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
    throw new ApiError("The server cannot be reached.");
  }
  if (reply.ok && as === "blob") {
    try {
      return await reply.blob();
    } catch {
      throw new ApiError("The connection ended before all of it was here.");
    }
  }
  // A body that is not JSON comes from a proxy, and is ignored.
  const data = await reply.json().catch(() => ({}));
  if (reply.ok) return data;
  const error = data.error ?? {};
  throw new ApiError(error.message ?? `The server answered with status ${reply.status}.`, {
    status: reply.status,
    code: error.code ?? "internal",
    retryable: error.retryable ?? (reply.status >= 500 || reply.status === 429),
    retryAfter: Number(reply.headers.get("Retry-After")) || 0,
  });
}

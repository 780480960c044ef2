/** @typedef {import("./facts.js").Facts} Facts */

// A restarting server is back within this time (ms); otherwise it was stopped.
const RESTARTS_WITHIN = 30_000;

/** Keeps the reason of the socket's last close for display. Uses neither DOM nor connection. */
export class Closing {
  // Time at which the server announced its stop
  #stoppedAt = -Infinity;

  /**
   * @param {Facts} before @param {import("./socket.js").SocketState} socket @param {number} closeCode
   * @param {import("./api.js").ApiError|null} socketError
   * @returns {Partial<Facts>} the changes
   */
  changed(before, socket, closeCode, socketError) {
    const now = performance.now();
    if (closeCode === 1013) this.#stoppedAt = now;
    // A restarting server is expected to be unreachable for a while.
    const stopped = before.closeCode === 1013 && closeCode === 1006;
    const gone = stopped && now - this.#stoppedAt > RESTARTS_WITHIN;
    // The reason stays visible until the socket works again.
    if (socket === "connecting" || (stopped && !gone)) return { socket };
    return { socket, closeCode, socketError, gone: gone || (before.gone && socket === "waiting") };
  }
}

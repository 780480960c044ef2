/** @typedef {import("./facts.js").Facts} Facts */

// A server that stops is back within this time, or it was stopped for good.
const RESTARTS_WITHIN = 30_000;

/** Why the socket closed last, for as long as that is to be read. Knows no page and no connection. */
export class Closing {
  // When the server said that it stops
  #stoppedAt = -Infinity;

  /**
   * @param {Facts} before @param {import("./socket.js").SocketState} socket @param {number} closeCode
   * @param {import("./api.js").ApiError|null} socketError
   * @returns {Partial<Facts>} what is different now
   */
  changed(before, socket, closeCode, socketError) {
    const now = performance.now();
    if (closeCode === 1013) this.#stoppedAt = now;
    // That a server which restarts cannot be reached is no news, for as long as a restart takes.
    const stopped = before.closeCode === 1013 && closeCode === 1006;
    const gone = stopped && now - this.#stoppedAt > RESTARTS_WITHIN;
    // The reason stays to be read until it works again.
    if (socket === "connecting" || (stopped && !gone)) return { socket };
    return { socket, closeCode, socketError, gone: gone || (before.gone && socket === "waiting") };
  }
}

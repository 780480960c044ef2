import { request } from "./api.js";

/**
 * Another device as the camera, which sends by WHIP (RFC 9725) into this page's session: its address and token, and the
 * stills that the server sends of it. Uses no DOM.
 */
export class OtherCamera {
  #session;
  #socket;

  /** @param {{session: import("./session.js").Session, socket: import("./socket.js").ChatSocket}} parts */
  constructor({ session, socket }) {
    this.#session = session;
    this.#socket = socket;
  }

  /** The address to which it publishes, and its bearer token. @throws {import("./api.js").ApiError} */
  async access() {
    await this.#session.ensure();
    const query = `session=${encodeURIComponent(this.#session.id ?? "")}`;
    return { address: `${location.origin}/api/whip?${query}`, token: this.#session.token ?? "" };
  }

  /** Request a picture of it every second, or none. @param {boolean} wanted */
  watch(wanted) {
    this.#socket.send({ type: "settings", stills: wanted });
  }

  /** End its connection. It may reconnect with the same token, as OBS does by itself. */
  end() {
    this.watch(false);
    const { id, token } = this.#session;
    if (id === null || token === null) return;
    // A failure is ignored, because the server also ends it with the session.
    request("DELETE", `/api/webrtc/offer?session=${encodeURIComponent(id)}`, { token, timeout: 3000 }).catch(() => {});
  }
}

import { request } from "./api.js";

/**
 * A camera that is another device and sends by WHIP (RFC 9725) into this page's session: what it needs for that, and
 * the stills that the server sends of it. Knows no page.
 */
export class OtherCamera {
  #session;
  #socket;

  /** @param {{session: import("./session.js").Session, socket: import("./socket.js").ChatSocket}} parts */
  constructor({ session, socket }) {
    this.#session = session;
    this.#socket = socket;
  }

  /** Where it publishes, and the bearer token that lets it. @throws {import("./api.js").ApiError} */
  async access() {
    await this.#session.ensure();
    const query = `session=${encodeURIComponent(this.#session.id ?? "")}`;
    return { address: `${location.origin}/api/whip?${query}`, token: this.#session.token ?? "" };
  }

  /** Have a picture of it every second, or none. @param {boolean} wanted */
  watch(wanted) {
    this.#socket.send({ type: "settings", stills: wanted });
  }

  /** Send it away. It may come again with the same token, as OBS does by itself. */
  end() {
    this.watch(false);
    const { id, token } = this.#session;
    if (id === null || token === null) return;
    // The server also ends it with the session; so a failure here needs no answer.
    request("DELETE", `/api/webrtc/offer?session=${encodeURIComponent(id)}`, { token, timeout: 3000 }).catch(() => {});
  }
}

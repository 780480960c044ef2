import { ApiError, request } from "./api.js";
import { text } from "../words/text.js";

/** Share of a grant's lifetime after which it is renewed. */
const RENEW_AT = 0.8;

/**
 * A visitor's session: its id, token and ICE servers. Kept in this page's memory only.
 */
export class Session {
  /** @type {string|null} null before the first grant */
  id = null;
  /** @type {string|null} */
  token = null;
  /** @type {RTCIceServer[]} */
  iceServers = [];
  /** True for a paired device, whose credential is in a cookie that no script can read. */
  paired = false;

  // Lifetime (ms) of the last grant, the shorter of token and relay, and its arrival by two clocks:
  // one may stop while the machine sleeps, the other may be set.
  #life = 0;
  #cameAt = { steady: 0, wall: 0 };
  // The access code, kept to start a new session without asking again.
  #code = "";
  // A one-time code that is not redeemed yet
  #pairing = "";
  /** @type {Promise<void>|null} the running request, which callers share */
  #granting = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  /** Called after each grant. @type {(id: string, token: string) => void} */
  onGrant = () => {};

  #askCode;
  #onNew;
  #onIceServers;

  /**
   * @param {{askCode: (wrong: boolean, why?: string) => Promise<string|null>, onNew: (first: boolean) => void,
   *   onIceServers?: () => void}} hooks
   *   askCode: asks the user for the access code, null when cancelled, `why`: the server's text; onNew: the session id
   *   changed; onIceServers: `iceServers` changed
   */
  constructor({ askCode, onNew, onIceServers = () => {} }) {
    this.#askCode = askCode;
    this.#onNew = onNew;
    this.#onIceServers = onIceServers;
  }

  /** True while token and relay credentials are valid. */
  get valid() {
    const { steady, wall } = this.#cameAt;
    return this.token !== null && Math.max(performance.now() - steady, Date.now() - wall) < this.#life;
  }

  /** All secrets of the session, which no report may contain. @returns {string[]} */
  get secrets() {
    const relays = this.iceServers.flatMap(({ username, credential }) => [username, credential]);
    return [this.token, this.id, this.#code, this.#pairing, ...relays].filter((secret) => typeof secret === "string");
  }

  /**
   * Make sure that there is a valid token.
   * @throws {ApiError} code "cancelled" when the user closed the dialog
   */
  async ensure() {
    if (this.valid) return;
    await this.#once(() => this.#grant());
  }

  /**
   * Redeem a one-time code instead of the access code. When that fails for now, the next `ensure` tries again.
   * @param {string} code
   * @throws {ApiError} status 401 when it is refused
   */
  async pair(code) {
    if (this.valid) return;
    this.#pairing = code;
    await this.#once(() => this.#redeem());
  }

  /** @param {() => Promise<void>} grant */
  async #once(grant) {
    this.#granting ??= grant().finally(() => {
      this.#granting = null;
    });
    await this.#granting;
  }

  /** Discard the token, which the server or a relay refuses; the next `ensure` requests a new one. */
  distrust() {
    this.#life = 0;
  }

  /**
   * Forget a session that the server has ended; the next `ensure` begins another.
   * @param {boolean} [code] true: with the code
   */
  forget(code = false) {
    clearTimeout(this.#timer);
    this.token = null;
    this.#life = 0;
    if (code) this.#code = this.#pairing = "";
  }

  /** End this device's pairing; the next `ensure` asks for a code. @throws {ApiError} */
  async unpair() {
    await request("DELETE", "/api/token/device");
    this.paired = false;
    this.forget(true);
  }

  /** @param {any} grant response of POST /api/token; also part of an open server's answer to an offer */
  adopt(grant) {
    if (typeof grant.token !== "string") return;
    const before = this.id;
    this.id = grant.session_id ?? this.id;
    this.token = grant.token;
    this.paired = grant.paired === true;
    const ends = Math.min(Number(grant.expires_in) || 3600, Number(grant.ice_expires_in) || Infinity);
    const life = Math.max(10, ends) * 1000;
    this.#life = life - 2000;
    this.#cameAt = { steady: performance.now(), wall: Date.now() };
    this.#renewIn(life * RENEW_AT);
    if (Array.isArray(grant.ice_servers)) {
      this.iceServers = grant.ice_servers;
      this.#onIceServers();
    }
    if (this.id !== null) this.onGrant(this.id, grant.token);
    if (before !== this.id) this.#onNew(before === null);
  }

  /** URL of the token request; with a token it names the session, so that the session's process answers. */
  #address() {
    return this.token === null ? "/api/token" : `/api/token?session=${encodeURIComponent(this.id ?? "")}`;
  }

  async #redeem() {
    const code = this.#pairing;
    try {
      this.adopt(await request("POST", "/api/token", { body: { pairing_code: code } }));
      this.#pairing = "";
    } catch (error) {
      if (error instanceof ApiError && error.status === 401) this.#pairing = "";
      throw error;
    }
  }

  async #grant() {
    let wrong = false;
    let why = "";
    if (this.#pairing) {
      try {
        return await this.#redeem();
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        why = error.message;
      }
    }
    for (;;) {
      try {
        const body = this.#code ? { access_code: this.#code } : {};
        this.adopt(await request("POST", this.#address(), { token: this.token, body }));
        return;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 401) throw error;
        if (this.token !== null) {
          // The old token cannot be renewed: begin a new session.
          this.token = null;
          continue;
        }
        why ||= error.message;
      }
      const code = await this.#askCode(wrong, why);
      if (code === null) {
        throw new ApiError(text("live.needs_code"), {
          status: 401,
          code: "cancelled",
          retryable: false,
        });
      }
      this.#code = code;
      wrong = true;
    }
  }

  /** @param {number} ms */
  #renewIn(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#renew(), Math.min(ms, 2 ** 31 - 1));
  }

  async #renew() {
    const token = this.token;
    if (token === null) return;
    try {
      const grant = await request("POST", this.#address(), { token, body: {} });
      if (this.token === token) this.adopt(grant);
    } catch (error) {
      // Not urgent: `ensure` requests a token when one is needed.
      if (this.valid && error instanceof ApiError && error.retryable) this.#renewIn(15_000);
    }
  }
}

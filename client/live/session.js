import { ApiError, request } from "./api.js";

/** Part of a grant's life after which it is renewed. */
const RENEW_AT = 0.8;

/**
 * One visitor's session: its id, its token and the ICE servers. All of it lives in this page's memory only.
 */
export class Session {
  /** @type {string|null} null before the first grant */
  id = null;
  /** @type {string|null} */
  token = null;
  /** @type {RTCIceServer[]} */
  iceServers = [];
  /** This device was paired: the browser keeps what it gets in by, where no script can read it. */
  paired = false;

  // Of the last grant, that is of its token or its relay credentials, whichever ends first: milliseconds that it is
  // good for, and when it came, by two clocks. One may stand still while the machine sleeps, the other be set.
  #life = 0;
  #cameAt = { steady: 0, wall: 0 };
  // Kept so that an expired session can begin anew without asking again.
  #code = "";
  // A one-time code that was not redeemed yet
  #pairing = "";
  /** @type {Promise<void>|null} the grant under way: callers share it */
  #granting = null;
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  #timer;
  #askCode;
  #onNew;
  #onIceServers;

  /**
   * @param {{askCode: (wrong: boolean, why?: string) => Promise<string|null>, onNew: (first: boolean) => void,
   *   onIceServers?: () => void}} hooks
   *   askCode: the person's access code, null when they gave up, `why`: the server's words for it; onNew: the session id
   *   changed; onIceServers: `iceServers` are newer ones
   */
  constructor({ askCode, onNew, onIceServers = () => {} }) {
    this.#askCode = askCode;
    this.#onNew = onNew;
    this.#onIceServers = onIceServers;
  }

  /** Token and relay credentials are good. */
  get valid() {
    const { steady, wall } = this.#cameAt;
    return this.token !== null && Math.max(performance.now() - steady, Date.now() - wall) < this.#life;
  }

  /** Everything here that no report may hold. @returns {string[]} */
  get secrets() {
    const relays = this.iceServers.flatMap(({ username, credential }) => [username, credential]);
    return [this.token, this.id, this.#code, this.#pairing, ...relays].filter((secret) => typeof secret === "string");
  }

  /**
   * Have a token, asking for one where there is none.
   * @throws {ApiError} code "cancelled" when the person closed the dialog
   */
  async ensure() {
    if (this.valid) return;
    await this.#once(() => this.#grant());
  }

  /**
   * Take a one-time code instead of the access code. When it cannot be redeemed now, the next `ensure` tries again.
   * @param {string} code
   * @throws {ApiError} status 401 when it is not taken
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

  /** The server does not take this token any more, or a relay its credentials; the next `ensure` asks for others. */
  distrust() {
    this.#life = 0;
  }

  /** The session is gone on the server: the next `ensure` begins another. @param {boolean} [code] which asks for the code */
  forget(code = false) {
    clearTimeout(this.#timer);
    this.token = null;
    this.#life = 0;
    if (code) this.#code = this.#pairing = "";
  }

  /** Take this device's pairing back: the next `ensure` asks for a code. @throws {ApiError} */
  async unpair() {
    await request("DELETE", "/api/token/device");
    this.paired = false;
    this.forget(true);
  }

  /** @param {any} grant what POST /api/token answers; also part of an open server's answer to an offer */
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
    if (before !== this.id) this.#onNew(before === null);
  }

  /** Where tokens are had: with a token at the process that has its session, which counts it as that session's. */
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
          // The old token is not taken for a renewal: begin anew.
          this.token = null;
          continue;
        }
        why ||= error.message;
      }
      const code = await this.#askCode(wrong, why);
      if (code === null) {
        throw new ApiError("This server needs an access code.", {
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
      // Not urgent: whoever needs a token after its end asks through `ensure`.
      if (this.valid && error instanceof ApiError && error.retryable) this.#renewIn(15_000);
    }
  }
}

/** @typedef {import("./messages.d.ts").Ready} Ready */
/** @typedef {import("./messages.d.ts").Status} Status */
/** @typedef {import("./api.js").ApiError} ApiError */

/**
 * The state that the page shows.
 * @typedef {Object} Facts
 * @property {boolean} active the user wants the camera on
 * @property {"off"|"asking"|"on"|"resting"|"elsewhere"|"lost"|import("./camera.js").CameraTrouble} camera
 *   resting: closed while the page is hidden; elsewhere: another device is the camera
 * @property {boolean} screen a screen or window is shared
 * @property {boolean} muted the system uses the camera for a while
 * @property {import("./peer.js").PeerState} link
 * @property {ApiError|null} linkError
 * @property {import("./socket.js").SocketState} socket
 * @property {number} closeCode of the last close, 0 for none
 * @property {ApiError|null} socketError
 * @property {boolean} gone the server stopped, and has been away for longer than a restart takes
 * @property {boolean} cut the link was interrupted, and is not fully back
 * @property {boolean} untrusted https works but the socket does not: the browser only tolerates the certificate
 * @property {ApiError|null} pairingError the error of the one-time code in the address
 * @property {Ready|null} ready
 * @property {Status|null} status
 * @property {import("./messages.d.ts").ModelComing|null} coming the model that is on its way
 * @property {boolean} held
 * @property {boolean} describing
 * @property {Preferred} preferred settings of the session that the user has changed
 * @property {string} disclose another machine to which pictures go once the user agrees; "" for none
 * @property {import("./sender.js").Sent|null} sent
 */

/**
 * @typedef {Object} Preferred
 * @property {"scene"|"notable"} [about] what is described
 * @property {"short"|"medium"|"long"} [length]
 * @property {number} [sensitivity]
 * @property {boolean} [changes] details of each comparison are open
 * @property {boolean} [watch_changes] the same for the watches
 * @property {string} [language] of answers, a BCP 47 tag; "" for the question's
 * @property {string} [page_language] of the page's words; "" for English
 * @property {"short"|"normal"|"full"} [verbosity] words of an answer
 * @property {boolean} [recall] keep pictures of the recent past
 * @property {boolean} [tools] the model may act
 */

/**
 * @typedef {Object} Question
 * @property {string} id
 * @property {string} content
 * @property {"auto"|"low"|"high"} detail
 * @property {import("./messages.d.ts").Chat["route"]} [route] where to look, if the user chose it
 * @property {[number, number, number, number]} [part] of the picture that it is about, as shares of it; absent: all of
 *   it
 * @property {number} [at] time of the question, once sent
 * @property {boolean} [again] sent for the second time
 */

/**
 * The callbacks of a visit.
 * @typedef {Object} Hooks
 * @property {(wrong: boolean, why?: string) => Promise<string|null>} askCode
 * @property {(facts: Facts) => void} onChange
 * @property {(stream: MediaStream|null) => void} onStream
 * @property {(message: import("./messages.d.ts").ServerMessage) => void} onMessage
 * @property {Record<string, string[]>|undefined} agreed the machines that were agreed to before a reload, by feature
 * @property {(agreed: Record<string, string[]>) => void} onAgreed a machine was agreed to
 * @property {(engine: string, model: string) => void} onEngine this engine answers from now on
 * @property {(id: string) => void} onSent a waiting question was sent
 * @property {(id: string) => void} onUnsent a waiting question will not be sent
 * @property {(over: boolean) => void} onUnshared a screen is shared no more; over: there was no camera before it
 * @property {() => boolean} keeps the camera stays on while the page is hidden
 * @property {(again: string) => void} onBroken the socket was lost; again: id of the question that is sent again, or ""
 * @property {(voice: MediaStreamTrack) => void} [onVoice] the track of a new connection on which the server speaks
 * @property {(carried: boolean) => void} onNewSession carried: it gets the chat of the one before
 */

/** @type {Readonly<Facts>} the initial state */
export const NOTHING_YET = {
  active: false,
  camera: "off",
  screen: false,
  muted: false,
  link: "closed",
  linkError: null,
  socket: "closed",
  closeCode: 0,
  socketError: null,
  gone: false,
  cut: false,
  untrusted: false,
  pairingError: null,
  ready: null,
  status: null,
  coming: null,
  held: false,
  describing: false,
  preferred: {},
  disclose: "",
  sent: null,
};

/** @typedef {import("./messages.d.ts").Ready} Ready */

/** The other machines that a page's person has agreed to: for pictures (`""`), and for what features send. */
export class Agreed {
  /** @type {Record<string, string[]>} */
  #hosts;

  /** @param {Record<string, string[]>} [hosts] by feature, agreed to before the page was reloaded */
  constructor(hosts = {}) {
    this.#hosts = hosts;
  }

  /**
   * @param {string} hosts with commas between
   * @param {string} [feature]
   * @returns {string} those of them that the person has not agreed to yet
   */
  missing(hosts, feature = "") {
    const agreed = ["", ...(this.#hosts[""] ?? []), ...(this.#hosts[feature] ?? [])];
    return hosts.split(", ").filter((host) => !agreed.includes(host)).join(", ");
  }

  /** @param {string} hosts with commas between @param {string} [feature] */
  add(hosts, feature = "") {
    this.#hosts = { ...this.#hosts, [feature]: [...new Set([...(this.#hosts[feature] ?? []), ...hosts.split(", ")])] };
    return this.#hosts;
  }

  /** The messages to send when a socket opens. @returns {import("./messages.d.ts").Confirm[]} */
  get messages() {
    return Object.entries(this.#hosts).map(([feature, hosts]) => confirmation(hosts.join(", "), feature));
  }
}

/** @param {string} host @param {string} feature @returns {import("./messages.d.ts").Confirm} */
export function confirmation(host, feature) {
  return { type: "confirm", host, ...(feature && { feature }) };
}

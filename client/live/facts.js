/** @typedef {import("./messages.js").Ready} Ready */
/** @typedef {import("./messages.js").Status} Status */
/** @typedef {import("./api.js").ApiError} ApiError */

/**
 * Everything the page shows about the state of things.
 * @typedef {Object} Facts
 * @property {boolean} active the person wants the camera on
 * @property {"off"|"asking"|"on"|"resting"|"elsewhere"|"lost"|import("./camera.js").CameraTrouble} camera
 *   resting: let go because the page is hidden; elsewhere: another device is the camera
 * @property {boolean} muted the system took the camera for a while
 * @property {import("./peer.js").PeerState} link
 * @property {ApiError|null} linkError
 * @property {import("./socket.js").SocketState} socket
 * @property {number} closeCode of the last close, 0 for none
 * @property {ApiError|null} socketError
 * @property {boolean} gone the server stopped, and a restart would have ended by now
 * @property {boolean} cut nothing came through for a while, and not all of it is back
 * @property {boolean} untrusted https works and the socket does not: the browser only tolerates the certificate
 * @property {ApiError|null} pairingError why the one-time code in the address was not taken
 * @property {Ready|null} ready
 * @property {Status|null} status
 * @property {boolean} held
 * @property {boolean} describing
 * @property {string} disclose another machine that pictures would go to, once the person agrees; "" for none
 * @property {import("./stats.js").Sent|null} sent
 */

/**
 * @typedef {Object} Question
 * @property {string} id
 * @property {string} content
 * @property {"auto"|"low"|"high"} detail
 * @property {number} [at] when it was asked, once it went out
 * @property {boolean} [again] it goes out for the second time
 */

/**
 * What a visit tells the page.
 * @typedef {Object} Hooks
 * @property {(wrong: boolean, why?: string) => Promise<string|null>} askCode
 * @property {(facts: Facts) => void} onChange
 * @property {(stream: MediaStream|null) => void} onStream
 * @property {(message: import("./messages.js").ServerMessage) => void} onMessage
 * @property {(engine: string, model: string) => void} onEngine it answers from now on
 * @property {(id: string) => void} onSent a question that waited went out
 * @property {(id: string) => void} onUnsent it never will
 * @property {(again: string) => void} onBroken the socket was lost; again: id of the question that is sent once more, or ""
 * @property {() => void} onNewSession
 */

/** @type {Readonly<Facts>} before anything was wanted */
export const NOTHING_YET = {
  active: false,
  camera: "off",
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
  held: false,
  describing: false,
  disclose: "",
  sent: null,
};

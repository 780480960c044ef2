/** Checks of the connection doctor: page, server, camera, access, WebSocket, engine. */

import { ApiError, hasOwnAuthority } from "../live/api.js";
import { engineName, noCamera } from "../page/words.js";
import { fromServer, problem } from "../words/problems.js";
import { ended, key, plural, text } from "../words/text.js";

/** @typedef {import("./doctor.js").Finding} Finding */
/** @typedef {import("./doctor.js").Answered} Answered */
/** @typedef {import("../live/visit.js").Facts} Facts */

// The Date header has whole seconds.
const CLOCK_SECONDS = 10;
const OPEN_WITHIN = 6000;

/** @returns {Finding} */
export function checkOrigin() {
  if (window.isSecureContext) return { state: "ok", text: text("This page came by {scheme}, which counts as secure here.", { scheme: location.protocol.slice(0, -1) }) };
  return {
    state: "failed",
    text: text("This page came by plain http."),
    cause: text("Browsers give the camera only to https:// pages and to localhost."),
    todo: text("On the computer where the server runs: bash scripts/run.sh --https, then scan the code that it shows."),
  };
}

/** @param {Answered} answer @returns {Finding} */
export function checkServer({ status, body, sent, came }) {
  if (status === 0) {
    return {
      state: "failed",
      text: text("The server does not answer."),
      cause: navigator.onLine ? text("It is stopped, or the network between does not let it through.") : text("This device is offline."),
      todo: text("Check that it runs (bash scripts/run.sh), and that this device is in the right network."),
    };
  }
  if (body?.service !== "qwen-camera") {
    return {
      state: "failed",
      text: text("Something else answers here, with status {status}.", { status: String(status) }),
      cause: text("A proxy in between, or another program at this address."),
      todo: text("Check the address, and in the proxy where it passes requests on to."),
    };
  }
  return { state: "ok", text: text("Version {version}, answered in {number} ms.", { version: String(body.version), number: came - sent }) };
}

/** @param {Answered} answer @returns {Finding} */
export function checkClock({ date, sent, came }) {
  const theirs = Date.parse(date);
  if (Number.isNaN(theirs)) return { state: "skipped", text: text("The server did not send its time.") };
  const offset = (theirs + 500 - (sent + came) / 2) / 1000;
  const apart = Math.abs(offset);
  if (apart <= CLOCK_SECONDS + (came - sent) / 2000) return { state: "ok", text: text("This device and the server agree on the time.") };
  const minutes = plural("{count} minutes", "1 minute", Math.round(apart / 60));
  const time = apart < 120 ? plural("{count} seconds", "1 second", Math.round(apart)) : apart < 7200 ? minutes : plural("{count} hours", "1 hour", Math.round(apart / 3600));
  return {
    state: "warn",
    text: offset > 0 ? text("This device's clock is {time} behind the server's.", { time }) : text("This device's clock is {time} ahead of the server's.", { time }),
    cause: text("One of the two is set wrongly."),
    todo: text("Let both set their time by the network. A wrong clock makes certificates, tokens and a relay's credentials look expired."),
  };
}

/** @param {Facts} facts @returns {Promise<Finding>} */
export async function checkCamera(facts) {
  if (facts.camera === "on") return { state: "ok", text: facts.muted ? text("On, and paused by the system.") : text("On.") };
  const trouble = noCamera(facts.camera);
  if (trouble && facts.camera !== "insecure") return { state: "failed", text: ended(trouble.title), todo: trouble.text };
  if (!navigator.mediaDevices?.enumerateDevices) {
    return { state: "skipped", text: text("Not checked: the browser gives this page no cameras."), cause: text("See Secure address.") };
  }
  const count = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput").length;
  if (count === 0) {
    return {
      state: "failed",
      text: text("The browser finds no camera."),
      cause: text("None is connected, or the system does not let the browser use it."),
      todo: text("Plug one in, or allow the browser the camera in the system's privacy settings."),
    };
  }
  return { state: "ok", text: plural("{count} cameras are there.", "One camera is there.", count) };
}

/** @returns {Promise<Finding>} */
export async function checkPermission() {
  if (!window.isSecureContext) return { state: "skipped", text: text("Not checked: only a secure address can have this permission.") };
  let state;
  try {
    state = (await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") })).state;
  } catch {
    return { state: "skipped", text: text("This browser shows the permission only when the camera starts.") };
  }
  if (state === "granted") return { state: "ok", text: text("Allowed.") };
  if (state === "prompt") return { state: "ok", text: text("The browser will ask when the camera starts.") };
  return {
    state: "failed",
    text: text("This page may not use the camera."),
    cause: text("It was refused here before, or a policy of this device forbids it."),
    todo: text("Press the icon left of the address, set Camera to Allow, and reload the page."),
  };
}

/** @param {import("../live/session.js").Session} session @returns {Promise<Finding>} */
export async function checkAccess(session) {
  try {
    await session.ensure();
    return { state: "ok", text: text("The server gave a token.") };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "cancelled") {
      return {
        state: "failed",
        text: text("This server asks for an access code, and none was given."),
        todo: text("Ask whoever runs it for the code, or scan a new pairing code."),
      };
    }
    if (error.status === 0) return { state: "failed", text: text("The server gave no token: it does not answer."), cause: text("See Server.") };
    return { state: "failed", text: text("The server gave no token ({status}).", { status: String(error.status) }), cause: problem(error.code, error.message) };
  }
}

/** @type {Record<number, {text: string, cause: string, todo: string}>} */
const CLOSED = {
  4401: {
    text: key("The server does not accept this page's token."),
    cause: key("It was restarted with another key, or its clock jumped."),
    todo: key("Reload the page."),
  },
  4403: {
    text: key("The server does not accept pages from this address."),
    cause: key("The server does not know this address, or a proxy hides the real one."),
    todo: key("Tell whoever runs the server: its log says how to allow this address."),
  },
  4409: {
    text: key("This session continues in another window."),
    cause: key("The same session is open twice."),
    todo: key("Close the other window, or press Start Camera to use it here."),
  },
  4429: {
    text: key("The server asks for a pause."),
    cause: key("More than 8 sockets within a minute, or this device reads too slowly."),
    todo: key("Wait a minute, then check again."),
  },
  1013: { text: key("The server is about to stop."), cause: key("It is being restarted."), todo: key("Wait a moment, then check again.") },
};

/**
 * A second socket of a session ends the first one. So this checks the page's own socket if it is open; opens one without a
 * token while the page still connects; and otherwise opens one of the session.
 * @param {import("./doctor.js").Subject} subject @param {AbortSignal} signal @returns {Promise<Finding>}
 */
export async function checkSocket({ facts, session }, signal) {
  if (facts.socket === "open") return { state: "ok", text: text("Open.") };
  const knock = facts.active;
  const { opened, code, ready } = await tryOut(session, knock, signal);
  if (ready) return { state: "ok", text: text("It opens, and the server responds.") };
  if (!opened) {
    if (facts.untrusted || (await hasOwnAuthority())) {
      return {
        state: "failed",
        text: text("The browser refuses it, although it loaded the page."),
        cause: text("This device does not trust the server's certificate. Browsers let you pass for the page, not for the socket."),
        todo: text("Get the certificate from /ca.crt and have this device trust it (close this: What to do)."),
      };
    }
    return {
      state: "failed",
      text: text("It does not open, though the server answers otherwise."),
      cause: text("A proxy, firewall or protection program in between does not let WebSockets through."),
      todo: text("In the proxy, pass on the headers Upgrade and Connection. Here: try without a VPN, or another network."),
    };
  }
  const known = CLOSED[knock ? facts.closeCode : code];
  if (known) return { state: "failed", ...known };
  if (knock) {
    return { state: "warn", text: text("Sockets open here; the page's own is not open yet."), cause: facts.socketError?.message ?? text("The page is about to try again.") };
  }
  return { state: "failed", text: text("The server closed it ({code}).", { code: String(code || text("no code")) }), cause: text("Its log says why."), todo: text("Check again in a moment.") };
}

/**
 * @param {import("../live/session.js").Session} session @param {boolean} knock true: opened without the token, and closed again
 * @param {AbortSignal} signal
 * @returns {Promise<{opened: boolean, code: number, ready: boolean}>}
 */
function tryOut(session, knock, signal) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const address = `${scheme}//${location.host}/ws/${encodeURIComponent(session.id ?? "")}`;
  const ws = new WebSocket(address, knock ? ["qwen-camera"] : ["qwen-camera", `bearer.${session.token}`]);
  return new Promise((resolve) => {
    let opened = false;
    /** @param {number} code @param {boolean} ready */
    const done = (code, ready) => {
      clearTimeout(timer);
      resolve({ opened, code, ready });
      ws.close();
    };
    const timer = setTimeout(() => done(0, false), OPEN_WITHIN);
    signal.addEventListener("abort", () => done(0, false));
    ws.onopen = () => {
      opened = true;
      if (knock) done(0, false);
    };
    // The first message means acceptance; the server refuses with a close code after opening.
    ws.onmessage = () => done(0, true);
    ws.onclose = (event) => done(event.code, false);
  });
}

/** @param {Finding} server @param {Finding} socket @returns {Promise<Finding>} */
export async function checkCertificate(server, socket) {
  if (location.protocol !== "https:") return { state: "skipped", text: text("This page came by http, which has none.") };
  if (server.state === "failed") return { state: "skipped", text: text("Not checked: the server does not answer.") };
  if (socket.state === "failed" && (await hasOwnAuthority())) {
    return {
      state: "failed",
      text: text("The browser tolerates it, but does not trust it."),
      cause: text("It comes from the server's own authority, which this device does not know."),
      todo: text("Get /ca.crt and have this device trust it. The page shows the steps."),
    };
  }
  return { state: "ok", text: text("The browser accepts it.") };
}

/** @param {Answered} answer of /health @param {Facts} facts @returns {Finding} */
export function checkEngine({ status, body }, facts) {
  const before = status === 0 ? null : (facts.status ?? facts.ready); // outdated when the server does not respond
  const engine = body?.engine ?? (before && { name: before.engine, state: before.engine_state, detail: before.engine_detail });
  if (!engine) {
    return { state: "skipped", text: status === 0 ? text("Not checked: the server does not answer.") : text("Unknown: /health gave status {status}.", { status: String(status) }) };
  }
  const name = engineName(engine.name);
  if (engine.state === "ready" || engine.state === "busy") {
    if (body?.draining) return { state: "warn", text: text("{engine} is ready, but the server is about to stop.", { engine: name }), todo: text("Wait until it is back.") };
    if (engine.name === "builtin") {
      return { state: "ok", text: text("{engine}: it reads text and codes, names colours and counts faces. No vision-language model answers.", { engine: name }) };
    }
    return { state: "ok", text: text("{engine} is {state}.", { engine: engine.model ? `${name} (${engine.model})` : name, state: text(engine.state) }) };
  }
  return {
    state: engine.state === "loading" ? "warn" : "failed",
    text: text("{engine} is {state}: questions cannot be answered.", { engine: name, state: text(engine.state) }),
    cause: fromServer(engine.detail || body?.reason),
    todo:
      engine.state === "loading"
        ? text("Wait until the model is loaded.")
        : text("Tell whoever runs this server: its log says why."),
  };
}

/** Checks of the connection doctor: page, server, camera, access, WebSocket, engine. */

import { ApiError, hasOwnAuthority } from "../live/api.js";
import { engineName, noCamera, stateWord } from "../page/words.js";
import { ended, fromServer, plural, problem, text } from "../words/text.js";

/** @typedef {import("./doctor.js").Finding} Finding */
/** @typedef {import("./doctor.js").Answered} Answered */
/** @typedef {import("../live/visit.js").Facts} Facts */

// The Date header has whole seconds.
const CLOCK_SECONDS = 10;
const OPEN_WITHIN = 6000;

/** @returns {Finding} */
export function checkOrigin() {
  if (window.isSecureContext)
    return { state: "ok", text: text("doctor.origin_secure", { scheme: location.protocol.slice(0, -1) }) };
  return {
    state: "failed",
    text: text("doctor.origin_http"),
    cause: text("doctor.origin_cause"),
    todo: text("doctor.origin_todo"),
  };
}

/** @param {Answered} answer @returns {Finding} */
export function checkServer({ status, body, sent, came }) {
  if (status === 0) {
    return {
      state: "failed",
      text: text("doctor.server_silent"),
      cause: navigator.onLine ? text("doctor.server_stopped") : text("doctor.offline"),
      todo: text("doctor.server_todo"),
    };
  }
  if (body?.service !== "qwen-camera") {
    return {
      state: "failed",
      text: text("doctor.other_server", { status: String(status) }),
      cause: text("doctor.other_server_cause"),
      todo: text("doctor.other_server_todo"),
    };
  }
  return { state: "ok", text: text("doctor.version", { version: String(body.version), number: came - sent }) };
}

/** @param {Answered} answer @returns {Finding} */
export function checkClock({ date, sent, came }) {
  const theirs = Date.parse(date);
  if (Number.isNaN(theirs)) return { state: "skipped", text: text("doctor.no_time") };
  const offset = (theirs + 500 - (sent + came) / 2) / 1000;
  const apart = Math.abs(offset);
  if (apart <= CLOCK_SECONDS + (came - sent) / 2000) return { state: "ok", text: text("doctor.clock_agrees") };
  const minutes = plural("doctor.minutes", Math.round(apart / 60));
  const time =
    apart < 120
      ? plural("doctor.seconds", Math.round(apart))
      : apart < 7200
        ? minutes
        : plural("page.hours", Math.round(apart / 3600));
  return {
    state: "warn",
    text: offset > 0 ? text("doctor.clock_behind", { time }) : text("doctor.clock_ahead", { time }),
    cause: text("doctor.clock_cause"),
    todo: text("doctor.clock_todo"),
  };
}

/** @param {Facts} facts @returns {Promise<Finding>} */
export async function checkCamera(facts) {
  if (facts.camera === "on")
    return { state: "ok", text: facts.muted ? text("doctor.camera_paused") : text("doctor.camera_on") };
  const trouble = noCamera(facts.camera);
  if (trouble && facts.camera !== "insecure")
    return { state: "failed", text: ended(trouble.title), todo: trouble.text };
  if (!navigator.mediaDevices?.enumerateDevices) {
    return { state: "skipped", text: text("doctor.camera_hidden"), cause: text("doctor.see_origin") };
  }
  const count = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput").length;
  if (count === 0) {
    return {
      state: "failed",
      text: text("doctor.no_camera"),
      cause: text("doctor.no_camera_cause"),
      todo: text("doctor.no_camera_todo"),
    };
  }
  return { state: "ok", text: plural("doctor.cameras", count) };
}

/** @returns {Promise<Finding>} */
export async function checkPermission() {
  if (!window.isSecureContext) return { state: "skipped", text: text("doctor.permission_insecure") };
  let state;
  try {
    state = (await navigator.permissions.query({ name: /** @type {PermissionName} */ ("camera") })).state;
  } catch {
    return { state: "skipped", text: text("doctor.permission_unknown") };
  }
  if (state === "granted") return { state: "ok", text: text("doctor.permission_granted") };
  if (state === "prompt") return { state: "ok", text: text("doctor.permission_prompt") };
  return {
    state: "failed",
    text: text("doctor.permission_denied"),
    cause: text("doctor.permission_denied_cause"),
    todo: text("doctor.permission_denied_todo"),
  };
}

/** @param {import("../live/session.js").Session} session @returns {Promise<Finding>} */
export async function checkAccess(session) {
  try {
    await session.ensure();
    return { state: "ok", text: text("doctor.token_given") };
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "cancelled") {
      return {
        state: "failed",
        text: text("doctor.code_missing"),
        todo: text("doctor.code_todo"),
      };
    }
    if (error.status === 0)
      return { state: "failed", text: text("doctor.token_silent"), cause: text("doctor.see_server") };
    return {
      state: "failed",
      text: text("doctor.token_refused", { status: String(error.status) }),
      cause: problem(error.code, error.message),
    };
  }
}

/** @type {Record<number, {text: string, cause: string, todo: string}>} */
const CLOSED = {
  4401: {
    text: "doctor.close_token",
    cause: "doctor.close_token_cause",
    todo: "doctor.close_token_todo",
  },
  4403: {
    text: "doctor.close_address",
    cause: "doctor.close_address_cause",
    todo: "doctor.close_address_todo",
  },
  4409: {
    text: "doctor.close_window",
    cause: "doctor.close_window_cause",
    todo: "doctor.close_window_todo",
  },
  4429: {
    text: "doctor.close_pause",
    cause: "doctor.close_pause_cause",
    todo: "doctor.close_pause_todo",
  },
  1013: { text: "server.stopping", cause: "doctor.restarting", todo: "doctor.wait_moment" },
};

/**
 * A second socket of a session ends the first one. So this checks the page's own socket if it is open; opens one
 * without a token while the page still connects; and otherwise opens one of the session.
 * @param {import("./doctor.js").Subject} subject @param {AbortSignal} signal @returns {Promise<Finding>}
 */
export async function checkSocket({ facts, session }, signal) {
  if (facts.socket === "open") return { state: "ok", text: text("doctor.socket_open") };
  const knock = facts.active;
  const { opened, code, ready } = await tryOut(session, knock, signal);
  if (ready) return { state: "ok", text: text("doctor.socket_works") };
  if (!opened) {
    if (facts.untrusted || (await hasOwnAuthority())) {
      return {
        state: "failed",
        text: text("doctor.socket_refused"),
        cause: text("doctor.socket_untrusted"),
        todo: text("doctor.socket_untrusted_todo"),
      };
    }
    return {
      state: "failed",
      text: text("doctor.socket_shut"),
      cause: text("doctor.socket_shut_cause"),
      todo: text("doctor.socket_shut_todo"),
    };
  }
  const known = CLOSED[knock ? facts.closeCode : code];
  if (known) return { state: "failed", ...known };
  if (knock) {
    return {
      state: "warn",
      text: text("doctor.socket_not_yet"),
      cause: facts.socketError?.message ?? text("doctor.about_to_try"),
    };
  }
  return {
    state: "failed",
    text: text("doctor.socket_closed", { code: String(code || text("doctor.no_close_code")) }),
    cause: text("doctor.log_says"),
    todo: text("doctor.wait_moment"),
  };
}

/**
 * @param {import("../live/session.js").Session} session @param {boolean} knock true: opened without the token, and
 *   closed again
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
  if (location.protocol !== "https:") return { state: "skipped", text: text("doctor.no_certificate") };
  if (server.state === "failed") return { state: "skipped", text: text("doctor.server_unchecked") };
  if (socket.state === "failed" && (await hasOwnAuthority())) {
    return {
      state: "failed",
      text: text("doctor.certificate_tolerated"),
      cause: text("doctor.certificate_own"),
      todo: text("doctor.certificate_todo"),
    };
  }
  return { state: "ok", text: text("doctor.certificate_accepted") };
}

/** @param {Answered} answer of /health @param {Facts} facts @returns {Finding} */
export function checkEngine({ status, body }, facts) {
  const before = status === 0 ? null : (facts.status ?? facts.ready); // outdated when the server does not respond
  const engine =
    body?.engine ?? (before && { name: before.engine, state: before.engine_state, detail: before.engine_detail });
  if (!engine) {
    return {
      state: "skipped",
      text: status === 0 ? text("doctor.server_unchecked") : text("doctor.health_status", { status: String(status) }),
    };
  }
  const name = engineName(engine.name);
  if (engine.state === "ready" || engine.state === "busy") {
    if (body?.draining)
      return {
        state: "warn",
        text: text("doctor.engine_stopping", { engine: name }),
        todo: text("doctor.engine_stopping_todo"),
      };
    const answers =
      engine.name === "builtin"
        ? text("doctor.engine_builtin", { engine: name })
        : text("doctor.engine_state", {
            engine: engine.model ? `${name} (${engine.model})` : name,
            state: stateWord(engine.state),
          });
    const said = [answers, ...others(facts)].join(" ");
    // One of them is gone.
    const instead = fromServer(facts.ready?.stands_in);
    return instead
      ? { state: "warn", text: said, cause: instead, todo: text("doctor.engine_todo") }
      : { state: "ok", text: said };
  }
  return {
    state: engine.state === "loading" ? "warn" : "failed",
    text: text("doctor.engine_broken", { engine: name, state: stateWord(engine.state) }),
    cause: fromServer(engine.detail || body?.reason),
    todo:
      engine.state === "loading"
        ? text("doctor.engine_loading_todo")
        : text("doctor.engine_todo"),
  };
}

/** The engines that do other work than answering, where others do it. @param {Facts} facts */
function others({ ready }) {
  return Object.entries({ watches: "watch.list", reads: "page.way_read" }).flatMap(([role, title]) => {
    const one = ready?.roles?.[role];
    if (!one) return [];
    const name = engineName(one.engine);
    return ended(`${text(title)}: ${one.engine !== "builtin" && one.model ? `${name} (${one.model})` : name}`);
  });
}

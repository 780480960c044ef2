/** The connection doctor: checks all parts of the connection, and gives the cause and remedy of each failure. */

import { checkDirect, checkRelay, relayTitle } from "./mediachecks.js";
import {
  checkAccess,
  checkCamera,
  checkCertificate,
  checkClock,
  checkEngine,
  checkOrigin,
  checkPermission,
  checkServer,
  checkSocket,
} from "./webchecks.js";
import { ended, joined, text } from "../words/text.js";

/** @typedef {"ok"|"warn"|"failed"|"skipped"} Outcome */

/**
 * @typedef {Object} Finding
 * @property {Outcome} state
 * @property {string} text the observation
 * @property {string} [cause]
 * @property {string} [todo]
 */

/**
 * The current state of a check.
 * @typedef {Object} Result
 * @property {string} id
 * @property {string} title
 * @property {Outcome|"running"} state
 * @property {string} text
 * @property {string} [cause]
 * @property {string} [todo]
 */

/**
 * The visit (see visit.js) that is examined, without changing it.
 * @typedef {Object} Subject
 * @property {import("../live/visit.js").Facts} facts
 * @property {import("../live/session.js").Session} session
 * @property {import("../live/peer.js").Peer} peer
 */

const TITLES = /** @type {const} */ ({
  origin: "doctor.origin",
  server: "doctor.server",
  certificate: "doctor.certificate",
  clock: "doctor.clock",
  camera: "page.camera",
  permission: "doctor.permission",
  access: "doctor.access",
  socket: "WebSocket",
  engine: "page.engine",
  direct: "doctor.direct",
  relays: "doctor.relays",
});

// Time limit of a check (ms); a relay's is shorter, access has more time to type a code.
const LIMIT = 12_000;
const RELAY_LIMIT = 6000;
const ACCESS_LIMIT = 300_000;

/** @type {Finding} */
const NO_ACCESS = { state: "skipped", text: "doctor.needs_access" };
/** @type {Finding} */
const SILENT = { state: "skipped", text: "doctor.server_unchecked" };

/**
 * Run all checks, in parallel where possible.
 * @param {Subject} subject
 * @param {(result: Result) => void} onResult called when a check begins, ends, or gets another meaning by a later one
 * @param {AbortSignal} signal stops the checks and the calls
 * @returns {Promise<void>} resolves after the last check
 */
export async function examine(subject, onResult, signal) {
  /** @param {string} id @param {string} title @param {Finding|null} finding null: it runs */
  const tell = (id, title, finding) => {
    const { text: observed = "", state = "running", cause = "", todo = "" } = finding ?? {};
    if (!signal.aborted)
      onResult({ id, title: text(title), state, text: text(observed), cause: text(cause), todo: text(todo) });
  };

  /**
   * @param {string} id @param {string} title
   * @param {(signal: AbortSignal) => Finding|Promise<Finding>} look @param {number} [limit] milliseconds
   */
  const check = async (id, title, look, limit = LIMIT) => {
    tell(id, title, null);
    const finding = await within(limit, look, signal);
    tell(id, title, finding);
    return finding;
  };

  for (const [id, title] of Object.entries(TITLES)) tell(id, title, null);
  const server = fetchBrief(signal);
  const health = fetchHealth(signal);
  const seen = check("server", TITLES.server, async () => checkServer(await server));
  /** @param {() => Finding|Promise<Finding>} go */
  const answering = async (go) => ((await server).status === 0 ? SILENT : go());
  const access = check("access", TITLES.access, () => answering(() => checkAccess(subject.session)), ACCESS_LIMIT);
  const barred = access.then((found) => (found.state === "ok" ? null : found.state === "skipped" ? found : NO_ACCESS));
  /** @param {() => Promise<Finding>} go */
  const allowed = async (go) => (await barred) ?? go();

  const socket = allowed(() => check("socket", TITLES.socket, (end) => checkSocket(subject, end)));
  const direct = allowed(() => check("direct", TITLES.direct, (end) => checkDirect(subject, end)));

  const relays = barred.then(async (why) => {
    if (why) return [why];
    const ways = relayWays(subject.session.iceServers);
    if (ways.length === 0) return [/** @type {Finding} */ ({ state: "skipped", text: text("doctor.no_relay") })];
    const known = await health;
    return Promise.all(
      ways.map((way, at) => {
        const reported = known.body?.turn?.find?.((/** @type {any} */ entry) => entry.url === way.urls) ?? null;
        const id = at === 0 ? "relays" : `relays-${at}`;
        return check(id, relayTitle(way.urls), (end) => checkRelay(way, reported, end), RELAY_LIMIT);
      }),
    );
  });

  await Promise.all([
    check("origin", TITLES.origin, checkOrigin),
    check("camera", TITLES.camera, () => checkCamera(subject.facts)),
    check("permission", TITLES.permission, checkPermission),
    check("clock", TITLES.clock, () => answering(async () => checkClock(await server))),
    check("engine", TITLES.engine, async () => checkEngine(await health, subject.facts)),
    Promise.all([seen, socket]).then(([web, ws]) =>
      check("certificate", TITLES.certificate, () => checkCertificate(web, ws)),
    ),
    Promise.all([direct, relays]).then(([way, others]) => {
      // The camera then uses the working relay, so this failure needs no action.
      if (way.state !== "failed" || !others.some((other) => other.state === "ok")) return;
      tell("direct", TITLES.direct, { ...way, state: "warn", text: `${way.text} ${text("doctor.relay_instead")}` });
    }),
    barred.then((why) => why && (tell("socket", TITLES.socket, why), tell("direct", TITLES.direct, why))),
    relays.then(([first]) => first.state === "skipped" && tell("relays", TITLES.relays, first)),
  ]);
}

/** The overall verdict. @param {Result[]} results */
export function verdict(results) {
  const running = results.filter(({ state }) => state === "running").length;
  const failed = results.filter(({ state }) => state === "failed").map(({ title }) => title);
  const doubtful = results.filter(({ state }) => state === "warn").map(({ title }) => title);
  const problems = failed.length > 0 ? text("doctor.problems", { checks: joined(failed, "; ") }) : "";
  if (running > 0) return { tone: "busy", text: problems || text("doctor.checking") };
  if (problems) return { tone: "bad", text: problems };
  if (doubtful.length > 0) return { tone: "warn", text: text("doctor.doubts", { checks: joined(doubtful, "; ") }) };
  return { tone: "ok", text: text("doctor.all_work") };
}

/**
 * @param {number} limit milliseconds
 * @param {(signal: AbortSignal) => Finding|Promise<Finding>} look
 * @param {AbortSignal} signal
 * @returns {Promise<Finding>}
 */
async function within(limit, look, signal) {
  const own = new AbortController();
  const stop = () => own.abort();
  signal.addEventListener("abort", stop);
  if (signal.aborted) own.abort();
  /** @type {ReturnType<typeof setTimeout>|undefined} */
  let timer;
  /** @type {Promise<Finding>} */
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, limit, {
      state: "failed",
      text: text("doctor.no_result", { count: Math.round(limit / 1000) }),
    });
    own.signal.addEventListener("abort", () => resolve({ state: "skipped", text: ended(text("doctor.not_checked")) }));
  });
  try {
    return await Promise.race([Promise.resolve(own.signal).then(look), late]);
  } catch (error) {
    // An unexpected error: show its name only, because its text may contain anything.
    return {
      state: "failed",
      text: text("doctor.check_failed", { error: error instanceof Error ? error.name : text("doctor.unknown_error") }),
    };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    own.abort();
  }
}

/**
 * The response of a URL of the server.
 * @typedef {Object} Answered
 * @property {number} status 0: no response
 * @property {any} body null when it is not JSON
 * @property {string} date the Date header, "" for none
 * @property {number} sent Date.now() before @property {number} came and after
 */

/** @param {AbortSignal} signal */
const fetchBrief = (signal) => fetchTimed("/", signal);

/** @param {AbortSignal} signal */
const fetchHealth = (signal) => fetchTimed("/health", signal);

/** @param {string} path @param {AbortSignal} signal @returns {Promise<Answered>} */
async function fetchTimed(path, signal) {
  const sent = Date.now();
  const limit = new AbortController();
  const stop = () => limit.abort();
  const timer = setTimeout(stop, LIMIT - 2000);
  signal.addEventListener("abort", stop);
  try {
    const reply = await fetch(path, {
      headers: { Accept: "application/json" },
      cache: "no-store",
      credentials: "same-origin",
      signal: limit.signal,
    });
    const came = Date.now();
    const body = await reply.json().catch(() => null);
    return { status: reply.status, body, date: reply.headers.get("Date") ?? "", sent, came };
  } catch {
    return { status: 0, body: null, date: "", sent, came: Date.now() };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

/**
 * Split the servers into one per TURN URL.
 * @param {RTCIceServer[]} servers
 * @returns {(RTCIceServer & {urls: string})[]}
 */
function relayWays(servers) {
  return servers.flatMap((server) =>
    [server.urls].flat().flatMap((urls) => (/^turns?:/.test(urls) ? [{ ...server, urls }] : [])),
  );
}

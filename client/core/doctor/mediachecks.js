/** Checks of the connection doctor: the video path to the server, directly and through each relay. */

import { ApiError, request } from "../live/api.js";
import { ended, joined, language, problem, text } from "../words/text.js";

/** @typedef {import("./doctor.js").Finding} Finding */

// Candidates found within this time go with the offer.
const GATHER_WITHIN = 1000;
const CONNECT_WITHIN = 8000;
const RELAY_WITHIN = 5000;

/** @type {Finding} */
const NO_WEBRTC = {
  state: "failed",
  text: "doctor.no_webrtc",
  cause: "doctor.no_webrtc_cause",
  todo: "doctor.no_webrtc_todo",
};

/**
 * Check the camera's connection; while the camera is off, open one without video and close it.
 * @param {import("./doctor.js").Subject} subject @param {AbortSignal} signal @returns {Promise<Finding>}
 */
export async function checkDirect({ facts, peer, session }, signal) {
  if (typeof RTCPeerConnection === "undefined") return NO_WEBRTC;
  const stats = await peer.report();
  if (stats) return pathIn(stats);
  const relayed = session.iceServers.some(({ urls }) => [urls].flat().some((url) => url.startsWith("turn")));
  if (facts.active) {
    // A second offer would end the camera's connection.
    return noWay(facts.linkError?.message ?? text("doctor.camera_unconnected"), relayed);
  }
  const pc = new RTCPeerConnection({ iceServers: direct(session.iceServers), bundlePolicy: "max-bundle" });
  signal.addEventListener("abort", () => pc.close());
  try {
    pc.addTransceiver("video", { direction: "sendonly" });
    const found = await gatherCandidates(pc, signal);
    if (signal.aborted) return { state: "skipped", text: ended(text("doctor.not_checked")) };
    if (!found) {
      return {
        state: "failed",
        text: text("doctor.no_address"),
        cause: text("doctor.no_address_cause"),
        todo: text("doctor.no_address_todo"),
      };
    }
    const answer = await request("POST", `/api/webrtc/offer?session=${encodeURIComponent(session.id ?? "")}`, {
      token: session.token,
      body: { type: "offer", sdp: pc.localDescription?.sdp },
    });
    const state = connection(pc, signal);
    await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    if ((await state) !== "connected") return noWay(text("doctor.no_packet"), relayed);
    return pathIn(await pc.getStats());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return {
      state: "failed",
      text: text("doctor.offer_refused", { status: String(error.status || text("doctor.no_answer")) }),
      cause: problem(error.code, error.message),
    };
  } finally {
    // Closing also informs the server, if connected; otherwise it times out.
    pc.close();
  }
}

/** @param {string} what @param {boolean} relayed @returns {Finding} */
function noWay(what, relayed) {
  return {
    state: "failed",
    text: what,
    cause: text("doctor.udp_blocked"),
    todo: relayed
      ? text("doctor.relay_must_help")
      : text("doctor.open_udp"),
  };
}

/** @param {RTCStatsReport} stats @returns {Finding} */
function pathIn(stats) {
  const reports = [...stats.values()];
  const chosen = reports.find(({ type, selectedCandidatePairId }) => type === "transport" && selectedCandidatePairId);
  const pair = chosen
    ? stats.get(chosen.selectedCandidatePairId)
    : reports.find(({ type, nominated, state }) => type === "candidate-pair" && nominated && state === "succeeded");
  const local = pair && stats.get(pair.localCandidateId);
  const remote = pair && stats.get(pair.remoteCandidateId);
  if (!local || !remote) return { state: "ok", text: text("page.connected") };
  const away = pair.currentRoundTripTime
    ? text("doctor.round_trip", { number: Math.max(1, Math.round(pair.currentRoundTripTime * 1000)) })
    : "";
  if (local.candidateType === "relay") {
    return {
      state: "ok",
      text: ended(
        joined(
          [text("doctor.connected_by_relay", { way: (local.relayProtocol ?? "udp").toUpperCase() }), away].filter(
            Boolean,
          ),
        ),
      ),
    };
  }
  return {
    state: "ok",
    text: ended(
      joined(
        [
          text("doctor.connected_over", {
            way: local.protocol.toUpperCase(),
            local: local.candidateType,
            remote: remote.candidateType,
          }),
          away,
        ].filter(Boolean),
      ),
    ),
  };
}

/**
 * The server's own check of a relay; `problem` is a code for what is wrong.
 * @typedef {{ok: boolean|null, why: string, problem?: string}} Reported
 */

/** Sentences about a relay that the server does not reach, by the server's code. @type {Record<string, string>} */
const CAUSES = {
  url: "doctor.relay_url",
  unreachable: "doctor.relay_unreachable",
  certificate: "doctor.relay_certificate",
  credentials: "doctor.relay_credentials",
  quota: "doctor.relay_quota",
  denied_peer: "doctor.relay_denied_peer",
  no_way_back: "doctor.relay_no_way_back",
  no_socket: "doctor.relay_no_socket",
  refused: "doctor.relay_refused",
};

/** The server's own sentence tells more, and is English. @param {Reported} reported */
function relayCause({ why, problem = "" }) {
  return language() === "en" || !Object.hasOwn(CAUSES, problem) ? why : text(CAUSES[problem]);
}

/** @param {string} url @returns {string} */
export function relayTitle(url) {
  const way = url.startsWith("turns:") ? "TLS" : url.endsWith("transport=tcp") ? "TCP" : "UDP";
  return text("doctor.relay_over", { way });
}

/**
 * @param {RTCIceServer & {urls: string}} server one TURN URL
 * @param {Reported|null} reported the server's own check of it
 * @param {AbortSignal} signal
 * @returns {Promise<Finding>}
 */
export async function checkRelay(server, reported, signal) {
  if (typeof RTCPeerConnection === "undefined") return NO_WEBRTC;
  const pc = new RTCPeerConnection({ iceServers: [server], iceTransportPolicy: "relay" });
  signal.addEventListener("abort", () => pc.close());
  const begun = performance.now();
  let code = 0;
  pc.onicecandidateerror = (event) => {
    // A relay's own error code says more than 701, which means unreachable.
    if (code === 0 || code >= 700) code = event.errorCode;
  };
  try {
    pc.addTransceiver("video", { direction: "recvonly" });
    const found = await gatherCandidates(pc, signal, RELAY_WITHIN);
    const url = server.urls;
    if (!found) return { state: "failed", ...relayTrouble(url, code, reported?.ok === true) };
    const took = { relay: url, number: Math.round(performance.now() - begun) };
    if (reported?.ok === false) {
      return {
        state: "warn",
        text: text("doctor.relay_useless", took),
        cause: relayCause(reported),
        todo: text("doctor.relay_useless_todo"),
      };
    }
    return { state: "ok", text: text("doctor.relay_works", took) };
  } finally {
    pc.close();
  }
}

/** @param {string} url @param {number} code @param {boolean} reachesServer */
function relayTrouble(url, code, reachesServer) {
  if (code === 401 || code === 441) {
    return {
      text: text("doctor.credentials_refused", { relay: url, code: String(code) }),
      cause: text("doctor.relay_credentials"),
      todo: text("doctor.compare_secrets"),
    };
  }
  if (code === 486 || code === 508) {
    return {
      text: text("doctor.no_more_addresses", { relay: url, code: String(code) }),
      cause: text("doctor.relay_quota"),
      todo: text("doctor.raise_quota"),
    };
  }
  if (code > 0 && code < 700) {
    return {
      text: text("doctor.relay_refuses", { relay: url, code: String(code) }),
      cause: text("doctor.relay_refused"),
      todo: text("doctor.relay_log"),
    };
  }
  const tls = url.startsWith("turns:") ? ` ${text("doctor.tls_untrusted")}` : "";
  return {
    text: text("doctor.relay_silent", { relay: url }),
    cause: (reachesServer ? text("doctor.relay_blocked_here") : text("doctor.relay_unreachable")) + tls,
    todo: text("doctor.relay_open_port"),
  };
}

/** Without relays. @param {RTCIceServer[]} servers @returns {RTCIceServer[]} */
function direct(servers) {
  return servers.flatMap((server) => {
    const urls = [server.urls].flat().filter((url) => url.startsWith("stun"));
    return urls.length > 0 ? [{ urls }] : [];
  });
}

/**
 * Create an offer, and gather all candidates; with a time limit, only until the first.
 * @param {RTCPeerConnection} pc @param {AbortSignal} signal @param {number} [first] milliseconds to wait for the first
 *   one
 * @returns {Promise<boolean>} true when one was found
 */
async function gatherCandidates(pc, signal, first = 0) {
  let found = false;
  /** @type {Promise<void>} */
  const ended = new Promise((resolve) => {
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) found = true;
      if (!candidate?.candidate || first) resolve();
    };
    signal.addEventListener("abort", () => resolve());
    setTimeout(resolve, first || GATHER_WITHIN);
  });
  await pc.setLocalDescription(await pc.createOffer());
  await ended;
  return found;
}

/** @param {RTCPeerConnection} pc @param {AbortSignal} signal @returns {Promise<RTCPeerConnectionState>} */
function connection(pc, signal) {
  return new Promise((resolve) => {
    const done = () => resolve(pc.connectionState);
    pc.onconnectionstatechange = () => {
      if (["connected", "failed", "closed"].includes(pc.connectionState)) done();
    };
    signal.addEventListener("abort", done);
    setTimeout(done, CONNECT_WITHIN);
  });
}

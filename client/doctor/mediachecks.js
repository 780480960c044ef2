/** Checks of the connection doctor: the video path to the server, directly and through each relay. */

import { ApiError, request } from "../live/api.js";
import { problem } from "../words/problems.js";
import { ended, joined, key, known, text } from "../words/text.js";

/** @typedef {import("./doctor.js").Finding} Finding */

// Candidates found within this time go with the offer.
const GATHER_WITHIN = 1000;
const CONNECT_WITHIN = 8000;
const RELAY_WITHIN = 5000;

/** @type {Finding} */
const NO_WEBRTC = {
  state: "failed",
  text: key("This browser has no WebRTC."),
  cause: key("An extension, a setting or a policy of this device switched it off."),
  todo: key("Allow WebRTC for this page, or use another browser."),
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
    return noWay(facts.linkError?.message ?? text("The camera is not connected yet."), relayed);
  }
  const pc = new RTCPeerConnection({ iceServers: direct(session.iceServers), bundlePolicy: "max-bundle" });
  signal.addEventListener("abort", () => pc.close());
  try {
    pc.addTransceiver("video", { direction: "sendonly" });
    const found = await gathered(pc, signal);
    if (signal.aborted) return { state: "skipped", text: text("Not checked.") };
    if (!found) {
      return {
        state: "failed",
        text: text("The browser finds no network address for the picture."),
        cause: text("A VPN, an extension or a policy keeps WebRTC from using UDP."),
        todo: text("Try without it, or in another network."),
      };
    }
    const answer = await request("POST", `/api/webrtc/offer?session=${encodeURIComponent(session.id ?? "")}`, {
      token: session.token,
      body: { type: "offer", sdp: pc.localDescription?.sdp },
    });
    const state = connection(pc, signal);
    await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
    if ((await state) !== "connected") return noWay(text("No packet gets through between this device and the server."), relayed);
    return pathIn(await pc.getStats());
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return { state: "failed", text: text("The server did not accept the offer ({status}).", { status: String(error.status || text("no answer")) }), cause: problem(error.code, error.message) };
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
    cause: text("UDP between the two is blocked, or one of them is behind NAT and cannot be reached from outside."),
    todo: relayed
      ? text("A relay has to help out: see below. Or open the server's UDP ports (UDP_PORT_RANGE) in its firewall.")
      : text("Whoever runs the server: open its UDP ports (UDP_PORT_RANGE), name its PUBLIC_ADDRESSES, or set TURN_URLS and TURN_SECRET."),
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
  if (!local || !remote) return { state: "ok", text: text("Connected.") };
  const away = pair.currentRoundTripTime ? text("{number} ms there and back", { number: Math.max(1, Math.round(pair.currentRoundTripTime * 1000)) }) : "";
  if (local.candidateType === "relay") {
    return { state: "ok", text: ended(joined([text("Connected through a relay over {way}; no direct path was found", { way: (local.relayProtocol ?? "udp").toUpperCase() }), away].filter(Boolean))) };
  }
  return { state: "ok", text: ended(joined([text("Connected over {way} ({local} to {remote})", { way: local.protocol.toUpperCase(), local: local.candidateType, remote: remote.candidateType }), away].filter(Boolean))) };
}

/** The server's own check of a relay; `problem` is a code for what is wrong. @typedef {{ok: boolean|null, why: string, problem?: string}} Reported */

/** Sentences about a relay that the server does not reach, by the server's code. @type {Record<string, string>} */
const CAUSES = {
  url: key("Its address in TURN_URLS is none, like turn:host:3478?transport=udp."),
  unreachable: key("It is down, or a firewall closes its port."),
  certificate: key("Its TLS certificate does not hold, or it speaks no TLS 1.2 or newer."),
  credentials: key("TURN_SECRET is not the relay's static-auth-secret, or the clocks of server and relay differ."),
  quota: key("Its quota or its ports are used up."),
  denied_peer: key("It may not send to the server: allow it there (coturn: allowed-peer-ip), or name a public address in PUBLIC_ADDRESSES."),
  no_way_back: key("Packets that go through it do not come to the server and back: UDP between the two may be closed, or PUBLIC_ADDRESSES is wrong."),
  no_socket: key("The server had no free UDP port to check it."),
  refused: key("The relay refused the connection."),
};

/** The server's own sentence tells more, and is English. @param {Reported} reported */
function relayCause({ why, problem = "" }) {
  return known(why) || !Object.hasOwn(CAUSES, problem) ? why : text(CAUSES[problem]);
}

/** @param {string} url @returns {string} */
export function relayTitle(url) {
  const way = url.startsWith("turns:") ? "TLS" : url.endsWith("transport=tcp") ? "TCP" : "UDP";
  return text("Relay over {way}", { way });
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
    const found = await gathered(pc, signal, RELAY_WITHIN);
    const url = server.urls;
    if (!found) return { state: "failed", ...relayTrouble(url, code, reported?.ok === true) };
    const took = { relay: url, number: Math.round(performance.now() - begun) };
    if (reported?.ok === false) {
      return { state: "warn", text: text("{relay} gave an address in {number} ms, but the server cannot be reached through it.", took), cause: relayCause(reported), todo: text("Whoever runs the server finds the reason in its log; see deploy/turnserver.conf.") };
    }
    return { state: "ok", text: text("{relay} gave an address in {number} ms.", took) };
  } finally {
    pc.close();
  }
}

/** @param {string} url @param {number} code @param {boolean} reachesServer */
function relayTrouble(url, code, reachesServer) {
  if (code === 401 || code === 441) {
    return {
      text: text("{relay} does not take the credentials ({code}).", { relay: url, code: String(code) }),
      cause: text("TURN_SECRET is not the relay's static-auth-secret, or the clocks of server and relay differ."),
      todo: text("Whoever runs the server: compare the two secrets, and both clocks."),
    };
  }
  if (code === 486 || code === 508) {
    return {
      text: text("{relay} gives no further address ({code}).", { relay: url, code: String(code) }),
      cause: text("Its quota or its ports are used up."),
      todo: text("Wait a moment; whoever runs it can raise user-quota, total-quota or its port range."),
    };
  }
  if (code > 0 && code < 700) {
    return { text: text("{relay} refuses ({code}).", { relay: url, code: String(code) }), cause: text("The relay refused the connection."), todo: text("Whoever runs the relay finds the reason in its log.") };
  }
  const tls = url.startsWith("turns:") ? ` ${text("With TLS also: its certificate is not trusted here.")}` : "";
  return {
    text: text("{relay} does not answer.", { relay: url }),
    cause: (reachesServer ? text("The server reaches it, so a firewall blocks the path from this device.") : text("It is down, or a firewall closes its port.")) + tls,
    todo: text("Open that port, or offer the relay over TLS on port 443 as well, which most networks let through."),
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
 * @param {RTCPeerConnection} pc @param {AbortSignal} signal @param {number} [first] milliseconds to wait for the first one
 * @returns {Promise<boolean>} true when one was found
 */
async function gathered(pc, signal, first = 0) {
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

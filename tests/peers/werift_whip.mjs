// A camera of werift: what it gets as RTP on a UDP port of loopback, it sends on. Arguments: the WHIP address, or that of
// the page's own offers; the bearer token; "VP8" or "H264"; its bundle policy; and whether audio is "first" (as OBS has
// it) or "last". It prints one JSON object a line, {"port"}, {"answer"}, {"state"}, {"plis"}; a line "restart" on its
// input restarts ICE, the input's end ends it.

import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { MediaStreamTrack, RTCPeerConnection, RTCRtpCodecParameters } from "werift";

const [address, token, codec, bundlePolicy = "max-compat", audio = "first"] = process.argv.slice(2);
const whip = address.includes("/api/whip");
const FRAGMENT = "application/trickle-ice-sdpfrag";

/** @param {object} what */
function say(what) {
  console.log(JSON.stringify(what));
}

const feedback = [{ type: "nack" }, { type: "nack", parameter: "pli" }, { type: "goog-remb" }];
const peer = new RTCPeerConnection({
  iceServers: [],
  bundlePolicy,
  codecs: {
    video: [
      new RTCRtpCodecParameters({
        mimeType: `video/${codec}`,
        clockRate: 90000,
        payloadType: 96,
        rtcpFeedback: feedback,
        parameters:
          codec === "H264"
            ? "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1"
            : undefined,
      }),
    ],
    audio: [new RTCRtpCodecParameters({ mimeType: "audio/opus", clockRate: 48000, channels: 2, payloadType: 111 })],
  },
});
const track = new MediaStreamTrack({ kind: "video" });
const listen = () => peer.addTransceiver(new MediaStreamTrack({ kind: "audio" }), { direction: "sendonly" });
if (audio === "first") listen();
const { sender } = peer.addTransceiver(track, { direction: "sendonly" });
if (audio === "last") listen();
let plis = 0;
sender.onPictureLossIndication.subscribe(() => say({ plis: ++plis }));
peer.connectionStateChange.subscribe((state) => say({ state }));

const media = createSocket("udp4");
media.on("message", (packet) => track.writeRtp(packet));
media.bind(0, "127.0.0.1", () => say({ port: media.address().port }));

/** @param {string} method @param {string} url @param {string} [body] @param {Record<string, string>} [headers] */
async function request(method, url, body, headers = {}) {
  const reply = await fetch(url, { method, body, headers: { Authorization: `Bearer ${token}`, ...headers } });
  if (!reply.ok) throw new Error(`${method}: ${reply.status} ${await reply.text()}`);
  return reply;
}

await peer.setLocalDescription(await peer.createOffer());
const { sdp: offer } = peer.localDescription;
const reply = whip
  ? await request("POST", address, offer, { "Content-Type": "application/sdp" })
  : await request("POST", address, JSON.stringify({ type: "offer", sdp: offer }), { "Content-Type": "application/json" });
const session = whip ? new URL(reply.headers.get("Location"), address).href : address;
const answer = whip ? await reply.text() : (await reply.json()).sdp;
say({ offer });
say({ answer });
await peer.setRemoteDescription({ type: "answer", sdp: answer });

/** The lines of a description that begin with one of these. @param {string} sdp @param {...string} starts */
function lines(sdp, ...starts) {
  return sdp.split(/\r?\n/).filter((line) => starts.some((start) => line.startsWith(start)));
}

/** One section's credentials and candidates of an SDP in place of another's. @param {string} fragment */
function renewed(fragment) {
  const fresh = lines(fragment, "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:");
  const out = [];
  for (const line of answer.split(/\r?\n/)) {
    if (/^a=(ice-ufrag|ice-pwd|candidate|end-of-candidates)/.test(line)) continue;
    out.push(line);
    if (line.startsWith("a=mid:")) out.push(...fresh);
  }
  return out.join("\r\n");
}

async function restart() {
  peer.restartIce();
  await peer.setLocalDescription(await peer.createOffer());
  const { sdp } = peer.localDescription;
  const credentials = [lines(sdp, "a=ice-ufrag:")[0], lines(sdp, "a=ice-pwd:")[0]];
  const found = [...new Set(lines(sdp, "a=candidate:"))];
  const fragment = [...credentials, "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=mid:0", ...found, ""].join("\r\n");
  const reply = await request("PATCH", session, fragment, { "Content-Type": FRAGMENT, "If-Match": "*" });
  await peer.setRemoteDescription({ type: "answer", sdp: renewed(await reply.text()) });
  say({ restarted: reply.status, etag: reply.headers.get("ETag") });
}

const input = createInterface({ input: process.stdin });
input.on("line", (line) => {
  if (line === "restart") restart().catch((error) => say({ failed: String(error) }));
});
input.on("close", async () => {
  const reply = await request("DELETE", session);
  say({ ended: reply.status });
  media.close();
  await peer.close();
  process.exit(0);
});

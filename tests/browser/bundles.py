"""A browser's camera beside audio, put together in each way that its bundle policy has."""

from __future__ import annotations

POLICIES = ("max-bundle", "balanced", "max-compat")
ORDERS = ("audio video", "video audio", "video video", "audio video data")

# A function of the policy and what is offered, in that order. The connection stays in window.peers,
# the newest last.
OFFER = """async (policy, order) => {
  const draw = () => {
    const canvas = document.createElement("canvas");
    canvas.width = 640;
    canvas.height = 360;
    const context = canvas.getContext("2d");
    setInterval(() => {
      context.fillStyle = `hsl(${Date.now() / 20 % 360}, 80%, 50%)`;
      context.fillRect(0, 0, 640, 360);
    }, 50);
    return canvas.captureStream(15).getVideoTracks()[0];
  };
  const peer = new RTCPeerConnection({ bundlePolicy: policy });
  (window.peers ??= []).push(peer);
  for (const kind of order.split(" ")) {
    if (kind === "data") peer.createDataChannel("beside");
    else if (kind === "video") peer.addTransceiver(draw(), { direction: "sendonly" });
    else {
      window.audio ??= new AudioContext();
      const [track] = audio.createMediaStreamDestination().stream.getAudioTracks();
      peer.addTransceiver(track, { direction: "sendonly" });
    }
  }
  return window.negotiate(peer, "", "");
}"""

# Offers and takes the answer: candidates go one by one, as the page sends them, for the section
# that each is for.
NEGOTIATE = """() => { window.negotiate = async (peer, session, token) => {
  const found = [];
  let send = (candidate) => found.push(candidate);
  peer.onicecandidate = ({ candidate }) => candidate?.candidate && send(candidate.toJSON());
  await peer.setLocalDescription();
  const { sdp } = peer.localDescription;
  const ask = (method, body) => fetch(`/api/webrtc/offer?session=${session}`, {
    method,
    headers: { "Content-Type": "application/json", ...(token && { Authorization: `Bearer ${token}` }) },
    body: JSON.stringify(body),
  });
  const reply = await ask("POST", { type: "offer", sdp });
  const answer = await reply.json();
  if (!reply.ok) return { sdp, refused: answer.detail };
  session = answer.session_id;
  token = answer.token ?? token;
  send = (candidate) => ask("PATCH", { candidates: [candidate] });
  found.forEach(send);
  await peer.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  const asked = performance.now();
  while (peer.connectionState !== "connected" && performance.now() - asked < 10000)
    await new Promise((resolve) => setTimeout(resolve, 20));
  return { sdp, answer: answer.sdp, state: peer.connectionState, session, token };
}; }"""

# Of the connection that `OFFER` made last: its first transceiver is stopped, and what is left is
# offered anew.
STOP_FIRST = """async (session, token) => {
  const peer = window.peers.at(-1);
  peer.getTransceivers()[0].stop();
  return window.negotiate(peer, session, token);
}"""

CLOSE = "() => { for (const peer of window.peers.splice(0)) peer.close(); }"

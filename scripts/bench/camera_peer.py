"""A simulated page: a camera over WebRTC, questions over the WebSocket, nothing of the server's own code.

encoder = LiveEncoder()
async with CameraPeer("http://localhost:8000", encoder) as peer:
    answer = await peer.ask("What do you see?")
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Self

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtcpSrPacket
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from scripts.bench.http_json import HttpError, json_request, unchecked_tls
from scripts.bench.link_relay import LinkRelay
from scripts.bench.live_encoder import EncodedFrame, Feed, LiveEncoder

log = logging.getLogger(__name__)

# Seconds between 1900 (NTP) and 1970 (epoch)
NTP_OFFSET = 2_208_988_800
# Messages of one socket that nobody asked for are kept up to this number; older ones are forgotten.
MESSAGES_KEPT = 2000

Message = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message of the server's and when it came: seconds since the epoch."""

    at: float
    message: Message


@dataclass(slots=True)
class Answer:
    id: str
    # When the question was handed to the socket, seconds since the epoch
    asked: float
    # Everything with this question's id, in order
    messages: list[Arrived] = field(default_factory=list)
    # The closing message of either kind
    response: Message | None = None
    error: Message | None = None

    @property
    def text(self) -> str:
        return "" if self.response is None else str(self.response["text"])

    @property
    def first_delta_at(self) -> float | None:
        """When the first piece of text came; None when there was none."""
        return next((a.at for a in self.messages if a.message["type"] == "delta"), None)

    @property
    def ended_at(self) -> float:
        return self.messages[-1].at


class EncodedTrack(MediaStreamTrack):
    """A video track of ready-made frames: aiortc cuts them into packets and encodes nothing."""

    kind = "video"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self.sent = 0
        self.bytes = 0
        # What goes into the next sender report: the capture time of the newest frame
        self.newest: EncodedFrame | None = None

    async def recv(self) -> av.Packet[Any]:
        if self.readyState != "live":
            raise MediaStreamError
        frame = await self._feed.frames.get()
        self.newest = frame
        self.sent += 1
        self.bytes += len(frame.data)
        packet = av.Packet(frame.data)
        packet.pts = frame.rtp_time
        packet.time_base = Fraction(1, 90_000)
        return packet


class CameraPeer:
    """One camera with its session.

    With `wake` the peer does with its encoder's frame rate what the server's `sender` messages say, so the encoder must
    be its own; without, the encoder's rate is left alone. Use as a context manager, or `connect`, `open_socket`,
    `close`. Errors are those of asyncio, websockets and HttpError.
    """

    def __init__(
        self,
        base_url: str,
        encoder: LiveEncoder,
        *,
        wake: bool = False,
        trickle: bool = False,
        access_code: str | None = None,
        relay: LinkRelay | None = None,
        ice_urls: Sequence[str] = (),
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.encoder = encoder
        self.token = ""
        self.session_id = ""
        # What came with the token; of it, the connection uses those of `ice_urls` (aiortc one STUN, one TURN server)
        self.ice_servers: list[Message] = []
        self.ice_urls = ice_urls
        # The offer's answer, whole
        self.answer: Message = {}
        # The newest `ready`, `status` and `sender`
        self.ready: Message = {}
        self.status: Message = {}
        self.sender: Message = {}
        # Everything the socket said, newest last, bounded
        self.messages: list[Arrived] = []
        # The close code, once the server has closed the socket
        self.close_code: int | None = None
        self.offered_at = 0.0
        self.connected_at = 0.0
        self.track: EncodedTrack | None = None
        self._wake = wake
        self._trickle = trickle
        self._access_code = access_code
        # A link of its own between this camera and the server; None is the bare network.
        self._relay = relay
        self._feed: Feed | None = None
        self._pc: RTCPeerConnection | None = None
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        # When the camera falls asleep again; None while it is
        self._asleep: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers: dict[str, Answer] = {}
        self._news = asyncio.Condition()
        self._count = 0

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
            await self.open_socket()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- the connection

    async def get_token(self) -> None:
        body = {} if self._access_code is None else {"access_code": self._access_code}
        reply = await json_request("POST", f"{self.base_url}/api/token", body)
        self.token, self.session_id = reply["token"], reply["session_id"]
        self.ice_servers = reply["ice_servers"]

    async def connect(self, *, timeout: float = 15.0) -> None:
        """Take a token when there is none yet, offer the camera, wait until packets may flow.

        Calling it again offers a new connection in place of the old one.
        """
        if not self.token:
            await self.get_token()
        await self._close_camera()
        self._feed = self.encoder.subscribe()
        self.track = EncodedTrack(self._feed)
        servers = [
            RTCIceServer(url, server.get("username"), server.get("credential"))
            for server in self.ice_servers
            for url in server["urls"]
            if url in self.ice_urls
        ]
        self._pc = pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        connected = asyncio.Event()

        @pc.on("connectionstatechange")
        def changed() -> None:
            if pc.connectionState in ("connected", "failed", "closed"):
                connected.set()

        transceiver = pc.addTransceiver(self.track, direction="sendonly")
        want = "video/H264" if self.encoder.codec == "h264" else "video/VP8"
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in codecs if c.mimeType in (want, "video/rtx")])
        self._hook(transceiver.sender)
        await pc.setLocalDescription(await pc.createOffer())
        sdp = pc.localDescription.sdp
        candidates: list[Message] = []
        if self._trickle:
            sdp, candidates = _without_candidates(sdp)
        if self._relay is not None:
            sdp, candidates = self._relay.rewrite_offer(sdp), []
        self.offered_at = time.time()
        self.answer = await json_request(
            "POST",
            f"{self.base_url}/api/webrtc/offer?session={self.session_id}",
            {"sdp": sdp, "type": "offer"},
            token=self.token,
        )
        answer = self.answer["sdp"]
        if self._relay is not None:
            answer = await self._relay.rewrite_answer(answer)
        await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        if candidates:
            await json_request(
                "PATCH",
                f"{self.base_url}/api/webrtc/offer?session={self.session_id}",
                {"candidates": candidates},
                token=self.token,
            )
        self._obey(self.answer.get("sender") or {})
        async with asyncio.timeout(timeout):
            await connected.wait()
        if pc.connectionState != "connected":
            raise ConnectionError(f"the camera's connection is {pc.connectionState}")
        self.connected_at = time.time()

    def _hook(self, sender: RTCRtpSender) -> None:
        """Two things that aiortc's sender does not do for frames that it did not encode itself."""
        # A key frame that is asked for is the encoder's business.
        feed = self._feed
        assert feed is not None
        sender._send_keyframe = feed.request_key  # type: ignore[method-assign]
        send_rtcp = sender._send_rtcp

        async def send_with_capture_time(packets: list[Any]) -> None:
            # A sender report maps RTP time to the time of capture, as a browser's does; aiortc writes the time of sending.
            newest = None if self.track is None else self.track.newest
            for packet in packets:
                if isinstance(packet, RtcpSrPacket):
                    if newest is None:
                        return
                    packet.sender_info.ntp_timestamp = int((newest.captured + NTP_OFFSET) * 2**32)
            await send_rtcp(packets)

        sender._send_rtcp = send_with_capture_time  # type: ignore[method-assign]

    @property
    def dropped(self) -> int:
        """Frames that this sender was too slow for."""
        return 0 if self._feed is None else self._feed.dropped

    async def end_camera(self) -> None:
        """DELETE: the camera ends, the session goes on."""
        await json_request(
            "DELETE",
            f"{self.base_url}/api/webrtc/offer?session={self.session_id}",
            token=self.token,
        )

    async def _close_camera(self) -> None:
        if self._feed is not None:
            self.encoder.unsubscribe(self._feed)
            self._feed = None
        if self._pc is not None:
            await self._pc.close()
            self._pc = None

    async def close(self) -> None:
        """End everything; the server's side of the camera by DELETE. Safe to call twice, and when half open."""
        if self._asleep is not None:
            self._asleep.cancel()
        if self._pc is not None and self.token:
            # The server may be gone, which is what some of those who close are testing.
            with contextlib.suppress(OSError, TimeoutError, EOFError, HttpError):
                await self.end_camera()
        await self.close_socket()
        await self._close_camera()

    # --- the socket

    async def open_socket(self, *, timeout: float = 10.0) -> None:
        """Open the WebSocket and wait for `ready`. Raises ConnectionClosed when the server closes instead."""
        if not self.token:
            await self.get_token()
        url = f"{self.base_url.replace('http', 'ws', 1)}/ws/{self.session_id}"
        await self.close_socket()
        self.close_code = None
        self._socket = await connect(
            url,
            subprotocols=["qwen-camera", f"bearer.{self.token}"],  # type: ignore[list-item]
            ssl=unchecked_tls() if url.startswith("wss") else None,
            max_size=2**22,
            compression=None,
            proxy=None,
        )
        self._reader = asyncio.create_task(self._read(self._socket), name="camera-peer-socket")
        since = self._count
        await self.wait_for(lambda m: m["type"] == "ready", timeout=timeout, since=since)

    async def close_socket(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        if self._reader is not None:
            await asyncio.wait([self._reader])
            self._reader = None

    async def send(self, message: Message) -> None:
        """Send any message. Raises ConnectionClosed."""
        if self._socket is None:
            raise RuntimeError("the socket is not open: call open_socket first")
        await self._socket.send(json.dumps(message))

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for raw in socket:
                arrived = Arrived(time.time(), json.loads(raw))
                self._take(arrived)
                async with self._news:
                    self._news.notify_all()
        except ConnectionClosed:
            # With an error code; it is read below.
            pass
        finally:
            self.close_code = socket.close_code
            async with self._news:
                self._news.notify_all()

    def _take(self, arrived: Arrived) -> None:
        message = arrived.message
        self.messages.append(arrived)
        self._count += 1
        if len(self.messages) > MESSAGES_KEPT:
            del self.messages[0]
        match message["type"]:
            case "ready":
                self.ready = message
            case "status":
                self.status = message
            case "sender":
                self._obey(message)
        answer = self._answers.get(str(message.get("id")))
        if answer is not None:
            answer.messages.append(arrived)
            if message["type"] == "response":
                answer.response = message
            elif message["type"] == "error":
                answer.error = message

    async def wait_for(
        self,
        wanted: Callable[[Message], bool],
        *,
        timeout: float = 10.0,
        since: int | None = None,
    ) -> Arrived:
        """The first message that is wanted, from now on (or from the `since`th on; `seen` counts them).

        Raises TimeoutError, and ConnectionError when the socket closes first.
        """
        position = self._count if since is None else since
        async with asyncio.timeout(timeout), self._news:
            while True:
                first_kept = self._count - len(self.messages)
                for arrived in self.messages[max(0, position - first_kept) :]:
                    if wanted(arrived.message):
                        return arrived
                position = self._count
                if self._reader is None or self._reader.done() or self.close_code is not None:
                    raise ConnectionError(f"the socket was closed with {self.close_code}")
                await self._news.wait()

    @property
    def seen(self) -> int:
        """Messages that came so far."""
        return self._count

    # --- asking

    async def type_for(self, seconds: float, *, every: float = 0.12) -> None:
        """Type, as a person does before the question is sent: the camera wakes at the first key."""
        end = time.monotonic() + seconds
        while True:
            self.wake()
            await self.send({"type": "typing"})
            if time.monotonic() + every >= end:
                await asyncio.sleep(max(0.0, end - time.monotonic()))
                return
            await asyncio.sleep(every)

    async def start(self, text: str, *, sent_at: bool | float = True, **more: Any) -> Answer:
        """Ask without waiting. `sent_at` is true for now, false for none, or milliseconds since the epoch."""
        answer = Answer(f"q{len(self._answers)}-{self._count}", time.time())
        self._answers[answer.id] = answer
        self.wake()
        message: Message = {"type": "chat", "content": text, "id": answer.id, **more}
        if sent_at is True:
            message["sent_at"] = answer.asked * 1000
        elif sent_at is not False:
            message["sent_at"] = sent_at
        await self.send(message)
        return answer

    async def finish(self, answer: Answer, *, timeout: float = 30.0) -> Answer:
        """Wait for the answer's `response` or `error`."""
        if answer.response is None and answer.error is None:
            await self.wait_for(
                lambda m: m.get("id") == answer.id and m["type"] in ("response", "error"),
                timeout=timeout,
                since=0,
            )
        self._answers.pop(answer.id, None)
        return answer

    async def ask(
        self, text: str, *, sent_at: bool | float = True, timeout: float = 30.0, **more: Any
    ) -> Answer:
        """Ask and wait for the end: `start` and `finish`."""
        return await self.finish(await self.start(text, sent_at=sent_at, **more), timeout=timeout)

    # --- what the page does with its sender

    def _obey(self, sender: Message) -> None:
        if "idle" not in sender:
            return
        awake = self._asleep is not None
        self.sender = sender
        if sender.get("wake_ms"):
            self.wake(sender["wake_ms"] / 1000)
        elif self._wake:
            self._limit(sender["awake" if awake else "idle"]["max_framerate"])

    async def asleep(self) -> None:
        """Wait until the camera is back at its idle rate."""
        await self._idle.wait()

    def wake(self, seconds: float | None = None) -> None:
        """Raise the frame rate now; it falls back after `seconds` (what the server said, 1.5 s at first)."""
        if not self._wake:
            return
        if seconds is None:
            seconds = self.sender.get("awake_ms", 1500) / 1000
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._asleep is not None:
            until = max(until, self._asleep.when())
            self._asleep.cancel()
        self._limit(self.sender.get("awake", {}).get("max_framerate", 30))
        self._asleep = loop.call_at(until, self._sleep)
        self._idle.clear()

    def _sleep(self) -> None:
        self._asleep = None
        self._idle.set()
        self._limit(self.sender.get("idle", {}).get("max_framerate", 2))

    def _limit(self, max_framerate: float) -> None:
        """A limit above what the camera has, 30 frames a second, is none."""
        self.encoder.rate = min(30.0, max_framerate)


def _without_candidates(sdp: str) -> tuple[str, list[Message]]:
    """The offer as a trickling browser sends it at first, and its candidates as it sends them after."""
    kept: list[str] = []
    candidates: list[Message] = []
    section, mid = -1, "0"
    for line in sdp.splitlines():
        if line.startswith("m="):
            section += 1
        if match := re.match(r"a=mid:(\S+)", line):
            mid = match[1]
        if line.startswith("a=candidate:"):
            candidates.append(
                {"candidate": line[2:], "sdpMid": mid, "sdpMLineIndex": max(section, 0)}
            )
        elif line != "a=end-of-candidates":
            kept.append(line)
    for candidate in candidates:
        candidate["sdpMid"] = mid
    return "\r\n".join(kept) + "\r\n", candidates


async def close_all(peers: Sequence[CameraPeer]) -> None:
    """Close many at a time."""
    await asyncio.gather(*(peer.close() for peer in peers))

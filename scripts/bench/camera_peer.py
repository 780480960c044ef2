"""A simulated page: a camera over WebRTC, and questions over the WebSocket, without the server's own code.

encoder = LiveEncoder()
async with CameraPeer("http://localhost:8000", encoder) as peer:
    answer = await peer.ask("What do you see?")
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
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

from scripts.bench.chat_client import Answer, ChatClient, Message, TimedMessage
from scripts.bench.http_json import HttpError, request_json
from scripts.bench.live_encoder import TICKS, EncodedFrame, Feed, LiveEncoder

# Maximum parallel connecting and closing, which are expensive on both sides
AT_ONCE = 8
# Seconds between two key presses while typing
BETWEEN_KEYS_S = 0.12
# Seconds between 1900 (NTP) and 1970 (epoch)
NTP_OFFSET = 2_208_988_800


class EncodedTrack(MediaStreamTrack):
    """A video track of encoded frames: aiortc splits them into packets and encodes nothing."""

    kind = "video"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self.sent = 0
        self.bytes = 0
        # For the next sender report: the capture time of the newest frame
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

    def prepare_sender(self, sender: RTCRtpSender) -> None:
        """Set up aiortc's sender for frames that it did not encode itself: key frame requests and capture times."""
        # The encoder handles key frame requests.
        sender._send_keyframe = self._feed.encoder.request_key  # type: ignore[method-assign]
        send_rtcp = sender._send_rtcp

        async def send_with_capture_time(packets: list[Any]) -> None:
            # A browser's sender report maps RTP time to the capture time; aiortc uses the time of
            # sending.
            for packet in packets:
                if isinstance(packet, RtcpSrPacket):
                    if self.newest is None:
                        return
                    packet.sender_info.ntp_timestamp = int(
                        (self.newest.captured + NTP_OFFSET) * 2**32
                    )
            await send_rtcp(packets)

        sender._send_rtcp = send_with_capture_time  # type: ignore[method-assign]


# Seconds awake before the server has sent its own value
AWAKE_S = 1.5


class SenderRate:
    """Applies the server's `sender` blocks to its own encoder; with `follow` False it only stores them."""

    def __init__(self, encoder: LiveEncoder, *, follow: bool) -> None:
        # The newest block
        self.plan: dict[str, Any] = {}
        self._encoder = encoder
        self._follow = follow
        # Timer for the return to idle; None while idle
        self._asleep: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def apply_block(self, plan: dict[str, Any]) -> None:
        """Apply a `sender` block; one without an idle rate is ignored."""
        if "idle" not in plan:
            return
        awake = self._asleep is not None
        self.plan = plan
        if plan.get("wake_ms"):
            self.wake(plan["wake_ms"] / 1000)
        elif self._follow:
            self._limit(plan["awake" if awake else "idle"]["max_framerate"])

    def wake(self, seconds: float | None = None) -> None:
        """Raise the frame rate for `seconds`, by default the server's value."""
        if not self._follow:
            return
        if seconds is None:
            seconds = self.plan.get("awake_ms", AWAKE_S * 1000) / 1000
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._asleep is not None:
            until = max(until, self._asleep.when())
            self._asleep.cancel()
        self._limit(self.plan.get("awake", {}).get("max_framerate", TICKS))
        self._asleep = loop.call_at(until, self._sleep)
        self._idle.clear()

    async def wait_idle(self) -> None:
        """Wait until the camera is back at its idle rate."""
        await self._idle.wait()

    def close(self) -> None:
        """Cancel the return to idle. It may be called twice."""
        if self._asleep is not None:
            self._asleep.cancel()

    def _sleep(self) -> None:
        self._asleep = None
        self._idle.set()
        self._limit(self.plan.get("idle", {}).get("max_framerate", 2))

    def _limit(self, max_framerate: float) -> None:
        """Limit the frame rate; a limit above the camera's rate has no effect."""
        self._encoder.rate = min(float(TICKS), max_framerate)


class CameraPeer(ChatClient):
    """A camera with its session.

    With `wake` the peer applies the server's `sender` messages to its encoder's frame rate, so it must
    have its own encoder; without `wake`, the rate does not change. Use it as a context manager, or call `connect`,
    `open_socket` and `close`. Raises errors of asyncio and websockets, and HttpError.
    """

    def __init__(
        self,
        base_url: str,
        encoder: LiveEncoder,
        *,
        wake: bool = False,
        access_code: str | None = None,
        ice_urls: Sequence[str] = (),
    ) -> None:
        super().__init__(base_url, access_code=access_code)
        self.encoder = encoder
        # URLs of `ice_servers` to use; aiortc uses one STUN and one TURN server.
        self.ice_urls = ice_urls
        # The whole answer to the offer
        self.answer: Message = {}
        self.offered_at = 0.0
        self.track: EncodedTrack | None = None
        self.rate = SenderRate(encoder, follow=wake)
        self._feed: Feed | None = None
        self._pc: RTCPeerConnection | None = None

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

    async def connect(self, *, timeout: float = 15.0) -> None:
        """Offer the camera, in place of an earlier offer, and wait until packets may flow."""
        if not self.token:
            await self.get_token()
        await self.drop_camera()
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
        def on_state_change() -> None:
            if pc.connectionState in ("connected", "failed", "closed"):
                connected.set()

        transceiver = pc.addTransceiver(self.track, direction="sendonly")
        want = "video/H264" if self.encoder.codec == "h264" else "video/VP8"
        codecs = RTCRtpSender.getCapabilities("video").codecs
        transceiver.setCodecPreferences([c for c in codecs if c.mimeType in (want, "video/rtx")])
        self.track.prepare_sender(transceiver.sender)
        self.add_media(pc)
        await pc.setLocalDescription(await pc.createOffer())
        self.offered_at = time.time()
        answer = await self.send_offer(pc.localDescription.sdp)
        await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self.rate.apply_block(self.answer.get("sender") or {})
        async with asyncio.timeout(timeout):
            await connected.wait()
        if pc.connectionState != "connected":
            raise ConnectionError(f"the camera's connection is {pc.connectionState}")

    async def send_offer(self, sdp: str) -> str:
        """Send an offer. Return the answer."""
        url = f"{self.base_url}/api/webrtc/offer?session={self.session_id}"
        body = {"sdp": sdp, "type": "offer"}
        self.answer = await request_json("POST", url, body, token=self.token)
        return str(self.answer["sdp"])

    def add_media(self, pc: RTCPeerConnection) -> None:
        """Add media other than the camera to the next offer."""

    @property
    def dropped(self) -> int:
        """Number of frames for which this sender was too slow."""
        return 0 if self._feed is None else self._feed.dropped

    async def end_camera(self) -> None:
        """End the camera by DELETE; the session continues."""
        await request_json(
            "DELETE",
            f"{self.base_url}/api/webrtc/offer?session={self.session_id}",
            token=self.token,
        )

    async def drop_camera(self) -> None:
        """Close the camera's connection; the server is informed only by DTLS."""
        if self._feed is not None:
            self.encoder.unsubscribe(self._feed)
            self._feed = None
        # First, so that a slow close does not affect the next connection
        pc, self._pc = self._pc, None
        if pc is not None:
            # aiortc never completes a cancelled close.
            await asyncio.shield(pc.close())

    async def close(self) -> None:
        """Close the connections, and end the camera by DELETE. It may be called twice, and while connecting."""
        self.rate.close()
        if self._pc is not None and self.token:
            # The server may be gone, as in some tests.
            with contextlib.suppress(OSError, TimeoutError, EOFError, HttpError):
                await self.end_camera()
        await self.close_socket()
        await self.drop_camera()

    async def wait_live(self, *, since: int = 0, timeout: float = 10.0) -> TimedMessage:
        """Wait for the first `status` with a live camera; `since` and errors as in `wait_for`."""
        return await self.wait_for(
            lambda m: m["type"] == "status" and m.get("camera") == "live",
            timeout=timeout,
            since=since,
        )

    # --- questions, with the camera awake

    def take(self, arrived: TimedMessage) -> None:
        super().take(arrived)
        if arrived.message["type"] == "sender":
            self.rate.apply_block(arrived.message)

    async def type_for(self, seconds: float) -> None:
        """Type before a question, as a person does: the camera wakes at the first key press."""
        end = time.monotonic() + seconds
        while True:
            self.rate.wake()
            await self.send({"type": "typing"})
            if time.monotonic() + BETWEEN_KEYS_S >= end:
                await asyncio.sleep(max(0.0, end - time.monotonic()))
                return
            await asyncio.sleep(BETWEEN_KEYS_S)

    async def start(self, text: str, *, sent_at: bool | float = True, **more: Any) -> Answer:
        self.rate.wake()
        return await super().start(text, sent_at=sent_at, **more)


async def close_all(peers: Sequence[CameraPeer]) -> None:
    """Close peers, several at a time."""
    for i in range(0, len(peers), AT_ONCE):
        await asyncio.gather(*(peer.close() for peer in peers[i : i + AT_ONCE]))

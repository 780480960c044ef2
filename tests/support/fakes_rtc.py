"""A real aiortc peer with a camera, beside a `WebRTCServer` without anything around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription

from scripts.bench.camera_peer import EncodedTrack
from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.frames import Frame
from server.core.metrics import Metrics
from server.media.camera import Camera
from server.webrtc_server import WebRTCServer
from tests.support.clients import sample, soon


class Peer:
    """Sends a camera.

    `drop(packet)` decides which of its RTP packets are lost on the way (None: none).
    """

    def __init__(self, encoder: LiveEncoder, *, rtx: bool = True) -> None:
        self.encoder = encoder
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.feed = encoder.subscribe()
        self.track = EncodedTrack(self.feed)
        transceiver = self.pc.addTransceiver(self.track, direction="sendonly")
        self.sender: RTCRtpSender = transceiver.sender
        want = {"video/H264" if encoder.codec == "h264" else "video/VP8"}
        codecs = RTCRtpSender.getCapabilities("video").codecs
        # Of H.264 what the encoder makes, and, as aiortc does, any baseline.
        h264 = {"Baseline": "42", "Main": "4d", "High": "64"}[encoder.profile]
        transceiver.setCodecPreferences(
            [
                c
                for c in codecs
                if c.mimeType in want | ({"video/rtx"} if rtx else set())
                and str(c.parameters.get("profile-level-id", h264)).startswith(h264)
                and c.parameters.get("packetization-mode", "1") == "1"
            ]
        )
        # Key frames that were asked for, and packets that NACKs brought back.
        self.plis = 0
        self.resent = 0
        self.drop: Callable[[bytes], bool] | None = None
        self.sender._send_keyframe = self._key_frame  # type: ignore[method-assign]

    def _key_frame(self) -> None:
        self.plis += 1
        self.feed.encoder.request_key()

    async def offer(self) -> str:
        """Its offer, with its candidates."""
        await self.pc.setLocalDescription(await self.pc.createOffer())
        return str(self.pc.localDescription.sdp)

    async def accept(self, answer: str) -> None:
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self._hook()

    def _hook(self) -> None:
        """In front of the wire: what `drop` says is lost, and packets sent again are counted."""
        transport = self.sender.transport
        send: Any = transport._send_rtp
        resend: Any = self.sender._retransmit

        async def lossy(data: bytes) -> None:
            is_rtp = not 64 <= data[1] & 0x7F <= 95
            if not (is_rtp and self.drop is not None and self.drop(data)):
                await send(data)

        async def counted(sequence: int) -> None:
            self.resent += 1
            await resend(sequence)

        transport._send_rtp = lossy  # type: ignore[method-assign]
        self.sender._retransmit = counted  # type: ignore[method-assign,assignment]

    async def close(self) -> None:
        self.encoder.unsubscribe(self.feed)
        await self.pc.close()
        # It may have begun to send while it was closed.
        await asyncio.sleep(0)
        await self.sender.stop()


class Side:
    """The server's side: a `WebRTCServer`, and a camera for each name."""

    def __init__(self, server: WebRTCServer) -> None:
        self.server = server
        self.metrics = Metrics("test")
        self.cameras: dict[str, Camera] = {}
        self.frames: dict[str, list[Frame]] = {}

    def camera(self, key: str = "a") -> Camera:
        if key not in self.cameras:
            camera = self.cameras[key] = Camera(sample_rate=30.0, metrics=self.metrics)
            self.frames[key] = []
            camera.on_sample.append(self.frames[key].append)
        return self.cameras[key]

    async def connect(self, sdp: str, key: str = "a") -> str:
        return await self.server.connect(key, sdp, self.camera(key))

    async def until(self, check: Callable[[], bool], seconds: float = 10.0) -> None:
        await soon(check, seconds)

    async def frames_of(self, key: str = "a", count: int = 1, seconds: float = 10.0) -> list[Frame]:
        """So many sampled frames from now on."""
        start = len(self.frames[key])
        await self.until(lambda: len(self.frames[key]) >= start + count, seconds)
        return self.frames[key][start:]

    def counted(self, line: str) -> float:
        return sample(self.metrics, line)


@asynccontextmanager
async def webrtc_side(**options: Any) -> AsyncIterator[Side]:
    """A server side that leaves nothing: its connections, cameras and threads are gone at the end."""
    pools = ThreadPoolExecutor(2, "decode-test"), ThreadPoolExecutor(1, "trim-test")
    # Its thread begins now and not in the midst of a count.
    pools[1].submit(int).result()
    server = WebRTCServer(decode_pool=pools[0], trim_pool=pools[1], **options)
    side = Side(server)
    try:
        yield side
    finally:
        for camera in side.cameras.values():
            camera.close()
        await server.close()
        for pool in pools:
            pool.shutdown(wait=True)


@asynccontextmanager
async def camera_peer(encoder: LiveEncoder, **options: Any) -> AsyncIterator[Peer]:
    peer = Peer(encoder, **options)
    try:
        yield peer
    finally:
        await peer.close()


def live_encoder(
    width: int = 640, height: int = 360, *, rate: float = 15.0, **options: Any
) -> LiveEncoder:
    return LiveEncoder(Scene(width, height), rate=rate, **options)

"""Bounds of the costs of a camera or a slow client: threads, waiting frames, waiting messages."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from scripts.bench.camera_peer import CameraPeer, close_all
from server import auth, session_manager, webrtc_server
from server.core import messages
from server.core.errors import SocketCloseCode
from server.core.messages import Error
from server.core.settings import MIN_OPERATOR_CHARS
from server.features.cameras import cameras as stills
from server.features.hosting import hosting as operator_channel
from server.media import sdp as offer
from server.media.patches import datagrams
from server.media.picture import encode
from server.media.video import assemble, decode
from server.media.video.decode import BACKLOG
from server.media.video.video_stream import VideoStream
from server.models.openai import events
from server.session.request.outbox import MAX_BYTES
from server.session.session import SOCKETS_PER_MINUTE
from server.web import (
    middleware,
    protocols,
    serving,
    websocket,
)
from tests.breaks.promises import page
from tests.support.fakes_media import RecordingCamera, vp8_frames, vp8_parts
from tests.support.fakes_openai import FakeOpenAI
from tests.support.fakes_rtc import live_encoder
from tests.support.fakes_server import READABLE, Footprint, ServerProcess
from tests.support.running import running

# MiB that a further 720p camera may take. Measured: 4.6.
CAMERA_MIB = 10.0
MIB = 1 << 20


@pytest.mark.slow
async def test_threads_do_not_grow_with_cameras() -> None:
    """Five cameras share the threads that decode two, and the memory of three more is bounded."""
    async with (
        FakeOpenAI() as fake,
        live_encoder(1280, 720, rate=10.0) as encoder,
        ServerProcess(
            {"ENGINE": "vllm", "VLLM_BASE_URL": fake.base_url}, module=READABLE
        ) as server,
    ):
        peers = [CameraPeer(server.url, encoder) for _ in range(5)]
        try:
            # Two cameras at a time give work to both threads of the pool.
            await asyncio.gather(*(live(peer) for peer in peers[:2]))
            two = await threads_settled(server)
            await asyncio.gather(*(live(peer) for peer in peers[2:]))
            five = await threads_settled(server)
        finally:
            await close_all(peers)
        print(f"two cameras: {two}; five: {five}")
        # Two pools' last threads may begin late.
        assert five.threads <= two.threads + 2
        assert five.rss - two.rss <= 3 * CAMERA_MIB


async def threads_settled(server: ServerProcess) -> Footprint:
    """After seconds of pictures in which no thread begins and less than a MiB is taken."""
    now = server.footprint()
    async with asyncio.timeout(30):
        while True:
            await asyncio.sleep(1.0)
            before, now = now, server.footprint()
            if now.threads == before.threads and abs(now.rss - before.rss) < 1:
                return now


async def live(peer: CameraPeer) -> None:
    await peer.connect()
    await peer.open_socket()
    await peer.wait_live()


class NoFeedback:
    """Nobody answers."""

    def __init__(self) -> None:
        self.plis = 0

    def send_nack(self, ssrc: int, lost: list[int]) -> None:
        pass

    def send_pli(self, ssrc: int) -> None:
        self.plis += 1


@pytest.fixture
def stuck_pool() -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """A pool whose one thread does something else until the event is set."""
    pool, gate = ThreadPoolExecutor(1, "stuck"), threading.Event()
    pool.submit(gate.wait)
    yield pool, gate
    gate.set()
    pool.shutdown(wait=True)


async def test_frames_that_wait_to_be_decoded_are_bounded(
    stuck_pool: tuple[ThreadPoolExecutor, threading.Event],
) -> None:
    """With the decoder stuck for ten seconds of video, at most 30 frames wait; what went is counted
    and a key frame asked for.
    """
    pool, gate = stuck_pool
    camera, feedback = RecordingCamera(), NoFeedback()
    stream = VideoStream(1, "VP8", sink=camera, feedback=feedback, pool=pool)
    frames = vp8_frames(4)
    sequence = most = 0
    for index in range(300):
        # One key frame, then deltas for ever.
        data = frames[0] if index == 0 else frames[1 + index % 3]
        for part in vp8_parts(data, 3000 * index):
            now = time.monotonic()
            stream.packet(
                sequence, part.timestamp, part.marker, part.data, now, retransmission=False
            )
            sequence += 1
        most = max(most, len(stream._lane._waiting))
    assert most <= BACKLOG
    assert camera.drops["backlog"] >= BACKLOG
    # Told together with what is asked for next.
    await camera.until(lambda c: sum(c.drops.values()) >= 300 - BACKLOG - 1, 2.0)
    assert feedback.plis >= 1
    gate.set()
    for part in vp8_parts(frames[0], 3000 * 300):
        now = time.monotonic()
        stream.packet(sequence, part.timestamp, part.marker, part.data, now, retransmission=False)
        sequence += 1
    # The very first key frame was on its way already; this one is the only other.
    await camera.until(lambda c: len(c.frames) == 2)
    stream.close()


async def test_a_client_that_does_not_read_loses_its_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """256 KiB wait for it at most; then the socket closes with 4429, and the session stays."""
    monkeypatch.setattr(websocket, "SEND_SECONDS", 0.5)
    async with running() as server:
        # Small windows on both sides, so that the operating system does not take it all.
        for listener in server.server.servers[0].sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        peer = CameraPeer(server.base_url, None)  # type: ignore[arg-type]
        await peer.get_token()
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", server.port))
        async with connect(
            f"{server.ws_url}/ws/{peer.session_id}",
            sock=raw,
            subprotocols=["qwen-camera", f"bearer.{peer.token}"],  # type: ignore[list-item]
            compression=None,
            proxy=None,
            max_queue=1,
        ) as slow:
            await slow.recv()
            session = server.program.sessions.find(peer.session_id)
            most = 0
            while server.program.sessions.sockets:
                session.outbox.put(Error(code="internal", message="x" * 4000, retryable=False))
                most = max(most, session.outbox.size)
                await asyncio.sleep(0)
            assert most <= MAX_BYTES
            assert session.outbox.dropped > 0
            with suppress(ConnectionClosed):
                while True:
                    await slow.recv()
        assert slow.close_code == SocketCloseCode.TOO_MANY
        assert server.program.sessions.find(peer.session_id) is session


# Words of the promises for a bound, the code's bound, and the number
PROMISED = [
    ("Bodies 128 KiB", middleware.MAX_BODY_BYTES, 128 << 10),
    ("SDP 64 KiB", offer.MAX_SDP_BYTES, 64 << 10),
    ("64 candidates", offer.MAX_CANDIDATES, 64),
    ("8 media sections", offer.MAX_MEDIA_SECTIONS, 8),
    ("256 codecs and 32 fingerprints an offer", offer.MAX_CODECS, 256),
    ("32 fingerprints an offer", offer.MAX_FINGERPRINTS, 32),
    ("messages 64 KiB", messages.MAX_MESSAGE_BYTES, 64 << 10),
    ("20 a second", websocket.MESSAGE_RATE, 20),
    ("256 sockets that wait for their token", websocket.MAX_UNAUTHENTICATED, 256),
    ("questions 4,000 characters", messages.MAX_QUESTION_CHARS, 4000),
    ("Sockets: 8 a session a minute", SOCKETS_PER_MINUTE, 8),
    ("15 s to connect", webrtc_server.CONNECT_SECONDS, 15),
    ("5 s to bring a token", websocket.AUTH_SECONDS, 5),
    ("10 s to send headers", protocols.WAIT_SECONDS, 10),
    ("or shake hands for TLS", serving.TLS_SECONDS, 10),
    ("15 s to send a body", middleware.BODY_SECONDS, 15),
    ("or to take any of an answer", protocols.TAKE_SECONDS, 15),
    ("half of them from one address at most", protocols.ADDRESS_PART, 2),
    ("1,024 frames at once", protocols.FRAME_BURST, 1024),
    ("and 128 a second", protocols.FRAME_RATE, 128),
    ("256 pieces a message", protocols.MAX_FRAGMENTS, 256),
    ("cut 10 s after closing began", protocols.WAIT_SECONDS, 10),
    ("half of a thread's time for decoding a camera", decode.SHARE, 0.5),
    ("600 units a frame", decode.MAX_UNITS, 600),
    ("8 MiB of frames that wait for it", decode.BACKLOG_BYTES, 8 << 20),
    ("pictures 3840×2160", decode.MAX_KEPT_MACROBLOCKS, 5 * 3840 * 2160 // 256),
    ("84 MiB for pictures", -(-decode.MAX_KEPT_MACROBLOCKS * decode.MACROBLOCK_BYTES // MIB), 84),
    ("64 picture parameter sets", decode.MAX_PICTURE_SETS, 64),
    ("11 for 64 picture", -(-decode.MAX_PICTURE_SETS * decode.PICTURE_SET_BYTES // MIB), 11),
    ("14 beside", decode.DECODER_BYTES, 14 * MIB),
    ("asks it again every 5 s", decode.REFUSED_S, 5),
    ("128 streams and 128 addresses a peer", datagrams.MAX_STREAMS, 128),
    ("128 streams, 128 addresses", datagrams.MAX_ADDRESSES, 128),
    ("512 packets", assemble.MAX_PACKETS, 512),
    ("2 MiB a frame", assemble.MAX_BYTES, 2 * MIB),
    ("30 frames", decode.BACKLOG, 30),
    ("nothing over 1,500 bytes", datagrams.MAX_DATAGRAM, 1500),
    ("without a camera for three minutes", session_manager.DARK_SECONDS, 180),
    ("200 lines of 300 characters", operator_channel.MAX_LINES, 200),
    ("lines of 300 characters wait", operator_channel.MAX_LINE_CHARS, 300),
    ("a wrong code costs three requests", auth.WRONG_CODE_COST, 3),
    ("at most one per second", stills.STILL_SECONDS, 1),
    ("640 px and", encode.STILL_SIDE, 640),
    ("and 36 KiB", encode.STILL_BYTES, 36 << 10),
    ("`OPERATOR_TOKEN` needs 16 characters", MIN_OPERATOR_CHARS, 16),
    ("20 wrong ones per address", auth.FLOOR, 20),
    ("120 over all addresses", auth.BUDGET, 120),
    ("one more each minute", auth.WINDOW / auth.FLOOR, 60),
    ("at most 4,096 characters", auth.MAX_TOKEN_CHARS, 4096),
    ("one event has at most 4 MiB", events.MAX_EVENT_BYTES, 4 << 20),
]


@pytest.mark.parametrize(("said", "bound", "promised"), PROMISED, ids=[one[0] for one in PROMISED])
def test_each_bound_is_the_promised_one(said: str, bound: float, promised: float) -> None:
    """Visitors are told what is bounded: whoever changes a bound changes its words, and this."""
    assert said in " ".join(page().split())
    assert bound == promised

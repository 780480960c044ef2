"""Attacks by visitors with valid keys on a true server: offers, codecs, streams, feedback, WHIP."""

from __future__ import annotations

import asyncio
import random
import re
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import google_crc32c
import httpx
import pylibsrtp
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection

from scripts.bench.camera_peer import CameraPeer, close_all
from scripts.bench.http_json import HttpError, request_json
from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.voice_peer import VoicePeer
from server.features.cameras.fragment import MEDIA_TYPE
from tests.media.test_webrtc_server import CHROMIUM
from tests.support.fakes_server import READABLE, ServerProcess
from tests.support.hostile import malformed_rtp, rtcp, rtp
from tests.whole.test_attacks import (
    FLOOD_MIB,
    LONGEST_SECONDS,
    SETTINGS,
    USUAL_SECONDS,
    metric,
    served,
)

pytestmark = pytest.mark.slow

SECONDS = 2.0
Packets = Iterator[bytes]


class HostilePeer(VoicePeer):
    """A camera and a microphone, with an unused data channel and more audio sections."""

    pc: RTCPeerConnection | None = None

    def add_media(self, pc: RTCPeerConnection) -> None:
        super().add_media(pc)
        self.pc = pc
        for _ in range(5):
            pc.addTransceiver("audio", direction="sendonly")
        pc.createDataChannel("smuggle")

    def payload_type(self, codec: str) -> int:
        assert self.pc is not None
        found = re.search(rf"a=rtpmap:(\d+) {codec}/", self.pc.localDescription.sdp)
        assert found
        return int(found[1])

    async def load_recognizer(self, sound: int) -> None:
        """Send two packets of sound: the server loads what it hears with at the first one."""
        assert self.pc is not None
        for n in range(2):
            packet = rtp(sound, 4, n, b"\x10" + bytes(60))
            await self.pc.getSenders()[0].transport._send_rtp(packet)

    async def flood(self, packets: Packets, *, data: bool = False) -> int:
        """Send packets with valid keys for a while, or what a data channel sends; return their number."""
        assert self.pc is not None
        transport = self.pc.getSenders()[0].transport
        send = transport._send_data if data else transport._send_rtp
        end, sent = time.monotonic() + SECONDS, 0
        while time.monotonic() < end:
            # Some are refused by this side's own SRTP.
            with suppress(pylibsrtp.Error):
                await send(next(packets))
                sent += 1
            await asyncio.sleep(0.0005)
        return sent


def streams(video: int, sound: int) -> Packets:
    """A stream of its own for each packet, in turn of both sections."""
    for n in range(2**31):
        yield rtp(video if n % 2 else sound, 10_000 + n, n, b"\x10" + bytes(60))


def codecs(video: int, sound: int) -> Packets:
    """All payload types, retransmissions too, and VP9, AV1 and H.264 as if they were VP8."""
    chance = random.Random(0)
    heads = (b"\x8f\xff\x80", b"\x10\x0a\x0b", b"\x65\x88\x84", b"\x7c\x85", b"\x10\x00\x00\x9d")
    for n in range(2**31):
        kind = video if n % 2 else chance.choice([k for k in range(128) if not 64 <= k <= 95])
        payload = heads[n % len(heads)] + chance.randbytes(500)
        yield rtp(kind, 5, n, payload, timestamp=chance.getrandbits(32), marker=n % 3 == 0)


def extensions(video: int, sound: int) -> Packets:
    """Header extensions that fill the packet."""
    for n in range(2**31):
        profile, value = (0xBEDE, b"\x20\x00") if n % 2 else (0x1000, b"\x40\x00")
        value *= 640
        head = struct.pack("!HH", profile, len(value) // 4) + value
        yield rtp(video if n % 4 < 2 else sound, 6, n, head + bytes(8), first=0x90)


def feedback(video: int, sound: int) -> Packets:
    """Requests for 5,000 packets each, and goodbyes of nobody, 300 in each."""
    lost = b"\x00\x01\xff\xff" * 300
    nack = struct.pack("!BBHLL", 0x81, 205, 2 + len(lost) // 4, 1, 2) + lost
    while True:
        yield nack
        yield struct.pack("!BBH", 0x80, 203, 0) * 300


def malformed(video: int, sound: int) -> Packets:
    while True:
        yield from malformed_rtp(video, 7)
        yield from malformed_rtp(sound, 8)
        yield from rtcp(9)


def channels(video: int, sound: int) -> Packets:
    """SCTP of a data channel that the server has refused: associations, openings, chunks of any kind (RFC 9260)."""
    chance = random.Random(0)
    for n in range(2**31):
        init = struct.pack("!BBHLLHHL", 1, 0, 20, n + 1, 131_072, 65_535, 65_535, n)
        opening = struct.pack("!BBHLHHL", 0, 3, 16 + 1_000, n, n % 65_536, 0, 50) + bytes(1_000)
        noise = bytes([chance.randrange(256)]) + chance.randbytes(1_100)
        packet = struct.pack("!HHLL", 5_000, 5_000, n % 3 and 1, 0) + (init, opening, noise)[n % 3]
        # The checksum is CRC32c in little endian.
        yield packet[:8] + struct.pack("<L", google_crc32c.value(packet)) + packet[12:]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def visited() -> AsyncIterator[ServerProcess]:
    """A server for attacks that leave next to nothing behind in its memory."""
    async with ServerProcess(SETTINGS, module=READABLE) as server:
        yield server


async def flooded(server: ServerProcess, packets: Callable[[int, int], Packets]) -> None:
    """Memory stays, others are served, and a camera beside it goes on."""
    cameras = [LiveEncoder(rate=2.0) for _ in range(2)]
    hostile, honest = (HostilePeer(server.url, camera) for camera in cameras)
    errors = await metric(server, "errors_total")
    try:
        for peer in (hostile, honest):
            await peer.connect()
            await peer.open_socket()
        await hostile.send({"type": "settings", "microphone": "hands_free"})
        sound = hostile.payload_type("opus")
        await hostile.load_recognizer(sound)
        await asyncio.sleep(1)
        before = server.footprint().rss
        made = packets(hostile.payload_type("VP8"), sound)
        attack = asyncio.create_task(hostile.flood(made, data=packets is channels))
        times, most = await served(server, attack)
        print(f"{before:.0f} -> {most:.0f} MiB, {times[len(times) // 2]:.3f}, {times[-1]:.3f} s")
        print(f"{attack.result()} sent")
        assert attack.result() > 200
        assert most - before < FLOOD_MIB
        assert times[len(times) // 2] < USUAL_SECONDS
        assert times[-1] < LONGEST_SECONDS
        assert honest.status.get("camera") == "live"
        assert await metric(server, "errors_total") == errors
    finally:
        await close_all([hostile, honest])
        for camera in cameras:
            await camera.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "packets",
    [streams, codecs, extensions, feedback, malformed, channels],
    ids=lambda made: made.__name__,
)
async def test_a_flood_with_valid_keys(
    visited: ServerProcess, packets: Callable[[int, int], Packets]
) -> None:
    await flooded(visited, packets)


async def offers(server: ServerProcess) -> Counter[int]:
    """Thirty that once took 3 s and 100 MiB each."""
    long = CHROMIUM + "a=rtpmap:96 VP8/90000\r\n" * 250
    long += "a=rtcp-fb:* x\r\n" * ((64_000 - len(long)) // 15)
    statuses = Counter[int]()
    for _ in range(30):
        issued = await request_json("POST", f"{server.url}/api/token", {})
        try:
            await request_json(
                "POST",
                f"{server.url}/api/webrtc/offer?session={issued['session_id']}",
                {"sdp": long, "type": "offer"},
                token=issued["token"],
            )
            statuses[200] += 1
        except HttpError as error:
            statuses[error.reply.status] += 1
    assert statuses == {200: 30}
    return statuses


async def undecodable(server: ServerProcess) -> Counter[int]:
    """Cameras with one codec that nothing here decodes: told so in words, and nothing is kept."""
    head, line, section = CHROMIUM.partition("m=video")
    codec_lines = ("a=rtpmap:", "a=fmtp:", "a=rtcp-fb:")
    kept = [row for row in section.splitlines() if row and not row.startswith(codec_lines)]
    kept[0] = kept[0].replace(" 96 97 103 104 45 46", " 96")
    before = server.footprint().sockets
    statuses = Counter[int]()
    for codec in ("VP9", "AV1", "H265") * 10:
        rows = [*kept, f"a=rtpmap:96 {codec}/90000", ""]
        issued = await request_json("POST", f"{server.url}/api/token", {})
        with pytest.raises(HttpError, match=f"only {codec}.*H264, VP8") as refused:
            await request_json(
                "POST",
                f"{server.url}/api/webrtc/offer?session={issued['session_id']}",
                {"sdp": head + line + "\r\n".join(rows), "type": "offer"},
                token=issued["token"],
            )
        statuses[refused.value.reply.status] += 1
    assert statuses == {422: 30}
    # Those who are served meanwhile have a few.
    assert server.footprint().sockets < before + 10
    return statuses


async def whip(server: ServerProcess) -> Counter[int]:
    """Trickling without end, wrong tags and types, and the connection of somebody else."""
    statuses = Counter[int]()
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        places: list[tuple[str, dict[str, str]]] = []
        for _ in range(2):
            issued = (await client.post("/api/token", json={})).json()
            bearer = {"Authorization": f"Bearer {issued['token']}"}
            typed = {**bearer, "Content-Type": "application/sdp"}
            reply = await client.post("/api/whip", content=CHROMIUM, headers=typed)
            places.append((reply.headers["location"], bearer))
        (mine, bearer), (other, _) = places
        tags = ['"x"', "*", "*" * 8000, '"' * 8000, ", ".join(f'"{n}"' for n in range(900)), ""]
        candidate = "a=candidate:" + "f" * 60_000 + " 1 udp 1 192.0.2.1 5 typ host\r\n"
        for n in range(200):
            path = (mine, other)[n % 2]
            headers = {**bearer, "If-Match": tags[n % len(tags)]}
            headers["Content-Type"] = MEDIA_TYPE if n % 5 else "text/plain"
            body = (candidate, "a=ice-ufrag:abcd\r\na=ice-pwd:" + "x" * 24 + "\r\n", "\xff")[n % 3]
            reply = await client.patch(path, content=body, headers=headers)
            statuses[reply.status_code] += 1
        assert (await client.delete(other, headers=bearer)).status_code == 404
        assert (await client.delete(mine, headers=bearer)).status_code == 200
    assert set(statuses) <= {400, 404, 409, 412, 415}
    return statuses


async def everything(server: ServerProcess) -> Counter[int]:
    """All programs and cameras that one visitor gets: the next one gets as many."""
    statuses = Counter[int]()
    cameras = [LiveEncoder(rate=2.0) for _ in range(2)]
    peers = [CameraPeer(server.url, camera) for camera in cameras]
    try:
        async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
            for peer, asked in zip(peers, (60, 20), strict=True):
                await peer.connect()
                await peer.open_socket()
                bearer = {"Authorization": f"Bearer {peer.token}"}
                own = Counter[int]()
                for n in range(asked):
                    grant = {"name": f"Helper {n}", "scopes": ["look"], "seconds": 600}
                    for path, body in (("/api/grants", grant), ("/api/cameras", {})):
                        reply = await client.post(path, json=body, headers=bearer)
                        own[reply.status_code] += 1
                # 8 programs and 3 further cameras
                assert own == {201: 8, 200: 3, 409: 2 * asked - 11}
                statuses += own
    finally:
        await close_all(peers)
        for camera in cameras:
            await camera.close()
    return statuses


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "attack", [offers, undecodable, whip, everything], ids=lambda made: made.__name__
)
async def test_requests_of_a_visitor(
    visited: ServerProcess, attack: Callable[[ServerProcess], Coroutine[Any, Any, Counter[int]]]
) -> None:
    """Each request is refused or kept within bounds, and others are served."""
    before = visited.footprint().rss
    attacking = asyncio.create_task(attack(visited))
    times, most = await served(visited, attacking)
    print(f"{before:.0f} -> {most:.0f} MiB, {times[len(times) // 2]:.3f}, {times[-1]:.3f} s")
    print(attacking.result())
    assert most - before < 2 * FLOOD_MIB
    assert times[len(times) // 2] < USUAL_SECONDS
    assert times[-1] < LONGEST_SECONDS

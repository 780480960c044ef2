"""Peers with good keys: what they send is bounded, ends nothing of theirs by accident, and nobody
else notices.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import struct
import time
from types import SimpleNamespace
from typing import Any

import pylibsrtp
import pytest
from OpenSSL import SSL

from server.media.patches import datagrams as transport_guard
from server.media.patches.datagrams import MAX_STREAMS, BoundedSession, DrainedTls
from server.media.patches.receiver import MAX_SSRCS
from server.media.video.assemble import MAX_PACKETS
from tests.support import hostile
from tests.support.fakes_rtc import camera_peer, live_encoder, webrtc_side

# MiB that the process may gain by everything below.
GROWTH_MIB = 24.0


class _Plain:
    """An SRTP session that takes everything but what begins with an X."""

    def unprotect(self, packet: bytes) -> bytes:
        if packet.startswith(b"X"):
            raise pylibsrtp.Error("authentication failure")
        return packet

    unprotect_rtcp = unprotect


def test_streams_are_bounded_and_forged_ones_do_not_count() -> None:
    """128 streams of authentic packets; the next is refused, the known ones go on, and forgeries
    use up nothing.
    """
    session = BoundedSession(_Plain())
    for ssrc in range(1000):
        with pytest.raises(pylibsrtp.Error):
            # Of other streams than the authentic ones below
            session.unprotect(b"X" + bytes(7) + struct.pack("!L", 10_000 + ssrc))
    for ssrc in range(MAX_STREAMS):
        if ssrc % 2:
            session.unprotect(bytes(8) + struct.pack("!L", ssrc))
        else:
            session.unprotect_rtcp(bytes(4) + struct.pack("!L", ssrc))
    for _ in range(3):
        with pytest.raises(pylibsrtp.Error, match="streams"):
            session.unprotect(bytes(8) + struct.pack("!L", MAX_STREAMS))
        session.unprotect(bytes(8) + struct.pack("!L", 0))
        session.unprotect_rtcp(bytes(4) + struct.pack("!L", 1))


class _Records:
    """A DTLS connection in which so many records wait."""

    def __init__(self, count: int) -> None:
        self.left = count

    def recv(self, size: int) -> bytes:
        if not self.left:
            raise SSL.WantReadError
        self.left -= 1
        return b"x" * min(size, 10)


def test_every_record_of_a_datagram_is_read_and_forgotten() -> None:
    """aiortc reads one; the others would wait in OpenSSL.

    Where somebody wants them they come one by one.
    """
    records = _Records(50)
    with pytest.raises(SSL.WantReadError):
        DrainedTls(records, SimpleNamespace(_data_receiver=None)).recv(1500)
    assert records.left == 0
    wanted = _Records(50)
    assert DrainedTls(wanted, SimpleNamespace(_data_receiver=object())).recv(1500)
    assert wanted.left == 49


# A peer with good keys beside another


def rss() -> float:
    """MiB of this process, after the collector."""
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4 / 1024


@pytest.mark.slow
@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_a_peer_with_good_keys_disturbs_nobody_else(codec: str) -> None:
    """Thousands of malformed packets of one camera: another's frames go on, memory and tables stay,
    no task dies.
    """
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    refused = transport_guard.peers_refused.copy()
    async with (
        live_encoder(320, 240) as good,
        live_encoder(320, 240, codec=codec) as bad,
        webrtc_side() as side,
        camera_peer(good) as victim,
        camera_peer(bad) as attacker,
    ):
        for key, peer in (("victim", victim), ("attacker", attacker)):
            answer = await side.connect(await peer.offer(), key)
            await peer.accept(answer)
            await side.frames_of(key, 2)
        one = hostile.Attacker(attacker.sender)
        await side.frames_of("attacker")
        bad.paused = True
        payloads = hostile.vp8_payloads() if codec == "vp8" else hostile.h264_payloads()
        kind = side.server._connections["attacker"]._receiver._codecs
        payload_type = next(n for n, c in kind.items() if c.name.lower() == codec)
        assert isinstance(side.server._connections["attacker"]._receiver.transport._ssl, DrainedTls)
        before, start = rss(), time.monotonic()
        await one.everything(payload_type, payloads)
        receiver = side.server._connections["attacker"]._receiver
        assert receiver._stream is not None
        assert len(receiver.transport._rtp_router.ssrc_table) <= MAX_STREAMS
        assert len(receiver._statistics) <= MAX_SSRCS
        assert receiver._stream._assembler.held <= 2 * MAX_PACKETS
        await side.frames_of("victim", 3)
        seconds = time.monotonic() - start
        arrived = [frame.arrived for frame in side.frames["victim"] if frame.arrived >= start]
        gaps = [b - a for a, b in itertools.pairwise(arrived)]
        print(
            f"{codec}: {one.sent} packets ({one.unsendable} cannot be encrypted); the other: "
            f"{len(arrived)} frames in {seconds:.1f} s, longest gap {max(gaps):.2f} s; {rss() - before:.1f} MiB"
        )
        # 15 frames a second are sent; the attacker's own work is done in this process too.
        assert max(gaps) < 1.0
        assert side.server._connections["attacker"]._pc.connectionState == "connected"
        assert rss() - before < GROWTH_MIB
    counted = transport_guard.peers_refused - refused
    assert counted["malformed"] > 10
    assert counted["streams"] > 500
    assert trouble == []

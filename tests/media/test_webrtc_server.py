"""Offers, candidates, media and ends, with real peers in the same process."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import os
import random
import re
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCPeerConnection
from aiortc.rtp import RtcpByePacket, RtpPacket
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.bench.live_encoder import Scene
from server.core.errors import Conflict, NotFound, QwenCameraError, TooLarge, UnusableOffer
from server.core.frames import CameraState
from server.media.patches.datagrams import DrainedTls
from server.media.sdp import Offer, Section
from server.media.video import camera_state
from tests.support.fakes_rtc import Peer, Side, camera_peer, live_encoder, webrtc_side
from tests.support.timing import NEVER_SECONDS

# Chromium 156's offer for one camera, with a shortened list of codecs.
CHROMIUM = Path(__file__).with_name("chromium.sdp").read_text("utf-8").replace("\n", "\r\n")

CANDIDATES = ("a=candidate:", "a=end-of-candidates")


def only(codec: str) -> str:
    """Chromium's offer with this one video codec and its repair."""
    sdp = re.sub(r"a=(rtpmap|rtcp-fb|fmtp):(96|97|103|104) .*\r\n", "", CHROMIUM)
    return sdp.replace(" 96 97 103 104 ", " ").replace("AV1/", f"{codec}/")


def without(sdp: str, *prefixes: str) -> str:
    return "\r\n".join(line for line in sdp.split("\r\n") if not line.startswith(prefixes))


def lines(sdp: str, prefix: str) -> list[str]:
    return [line for line in sdp.split("\r\n") if line.startswith(prefix)]


def trickled(sdp: str) -> list[dict[str, Any]]:
    return [
        {"candidate": line[2:], "sdpMid": "0", "sdpMLineIndex": 0}
        for line in lines(sdp, "a=candidate:")
    ]


async def join(side: Side, peer: Peer, key: str = "a") -> str:
    """Offer and answer; the answer."""
    answer = await side.connect(await peer.offer(), key)
    await peer.accept(answer)
    return answer


async def show(side: Side, peer: Peer, count: int = 1) -> None:
    """Connect, and wait for so many pictures."""
    await join(side, peer)
    await side.frames_of(count=count)


def is_first_time(data: bytes, payload_type: int) -> bool:
    """A media packet that is not sent again by RTX."""
    return data[1] & 0x7F == payload_type


@pytest.mark.parametrize(
    ("codec", "profile"),
    [("vp8", "Baseline"), ("h264", "Baseline"), ("h264", "Main"), ("h264", "High")],
)
async def test_frames_arrive_at_full_size(codec: str, profile: str) -> None:
    """1280×720 in, 1280×720 out, each once and in order, and the sender is asked for no more than it has to send."""
    async with (
        live_encoder(1280, 720, codec=codec, profile=profile) as encoder,
        webrtc_side() as side,
        camera_peer(encoder) as peer,
    ):
        answer = await join(side, peer)
        levels = {"Baseline": "42", "Main": "4d", "High": "64"}
        assert codec == "vp8" or f"profile-level-id={levels[profile]}" in answer
        frames = await side.frames_of(count=10)
        feed = side.camera().feed
        assert feed is not None
        assert feed.codec == codec.upper()
        assert {(f.width, f.height) for f in frames} == {(1280, 720)}
        times = [f.rtp_time for f in frames]
        assert times == sorted(set(times))
        assert side.camera().state() is CameraState.LIVE
        assert side.camera().newest is not None
        # After the first sender report frames have the sender's own time.
        await side.until(lambda: side.frames["a"][-1].captured_sender is not None, 5)


async def test_trickled_candidates(side: Side, peer: Peer) -> None:
    """An offer without candidates waits for them; they come one by one, some of them before they make sense."""
    sdp = await peer.offer()
    # Nobody knows where the peer is: not even a check of its own comes, since it has no answer yet.
    answer = await side.connect(without(sdp, *CANDIDATES))
    found = trickled(sdp)
    assert found
    for candidate in found:
        assert await side.server.get("a").add_candidates([candidate]) == 1
    await peer.accept(answer)
    await side.frames_of()
    # Late ones, the same again, and the end of them do no harm.
    assert await side.server.get("a").add_candidates(found) == len(found)
    assert await side.server.get("a").add_candidates([{"candidate": ""}, {"candidate": None}]) == 0
    await side.frames_of()


USELESS = [
    "candidate:1 1 udp 2122260223 0a1b2c3d-0000-4000-8000-000000000000.local 50001 typ host",
    "candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
    "candidate:1 2 udp 2122260223 192.0.2.7 50001 typ host",
    "candidate:1 1 udp 2122260223 camera.example 50001 typ host",
    "candidate:1 1 udp 2122260223 192.0.2.7 70000 typ host",
    "candidate:1 1 udp 2122260223 192.0.2.7 0 typ host",
    "candidate:1 1 udp 2122260223 192.0.2.7 -1 typ host",
    # Behind the others: they may say that no more come.
    *("   ", "", None),
]


async def test_candidates_of_no_use_are_stepped_over(side: Side, peer: Peer) -> None:
    """Empty, mDNS, TCP, of another component, without an address or port that can be sent to: not used, no harm."""
    answer = await side.connect(without(await peer.offer(), "a=end-of-candidates"))
    for text in USELESS:
        given = [{"candidate": text, "sdpMid": "0"}]
        assert await side.server.get("a").add_candidates(given) == 0, text
    await peer.accept(answer)
    await side.frames_of()


@pytest.mark.parametrize("ending", [[], ["a=end-of-candidates"]])
async def test_an_offer_of_mdns_names_connects(side: Side, peer: Peer, ending: list[str]) -> None:
    """As Firefox offers before a permission: the peer reaches us, and is known by that."""
    sdp = without(await peer.offer(), *CANDIDATES)
    name = (
        "a=candidate:1 1 udp 2122260223 0a1b2c3d-0000-4000-8000-000000000000.local 50001 typ host"
    )
    await peer.accept(
        await side.connect(sdp.rstrip("\r\n") + "\r\n" + "\r\n".join([name, *ending, ""]))
    )
    await side.frames_of()


async def test_a_new_offer_replaces_the_old_connection() -> None:
    """The new one's frames come, the old one is closed, and its end is not taken for the camera's."""
    async with (
        live_encoder() as encoder,
        webrtc_side() as side,
        camera_peer(encoder) as old,
        camera_peer(encoder) as new,
    ):
        await show(side, old)
        await join(side, new)
        assert len(side.server) == 1
        await side.until(lambda: old.pc.connectionState in ("closed", "failed"))
        await side.frames_of(count=3)
        assert side.camera().state() is CameraState.LIVE
        await old.close()
        await side.frames_of(count=3)
        assert len(side.server) == 1


async def test_a_refused_offer_leaves_the_connection_alone(side: Side, peer: Peer) -> None:
    """The camera goes on as it was."""
    await show(side, peer)
    with pytest.raises(UnusableOffer):
        await side.connect("v=0\r\nm=video\r\n")
    with pytest.raises(UnusableOffer):
        await side.connect(without(CHROMIUM, "a=ice-"))
    await side.frames_of(count=2)
    assert len(side.server) == 1


class OtherSection:
    """A section of no offer, which counts how often it was opened and closed."""

    def __init__(self) -> None:
        self.number = 99
        self.opened = self.closed = 0

    def lines(self, section: Section, port: str, transport: list[str]) -> list[str]:
        raise AssertionError

    def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1


class OtherLine:
    """Uses `other`, or fails where it is None."""

    def __init__(self, other: OtherSection | None) -> None:
        self.other = other

    def section(self, offer: Offer, transport: Any) -> OtherSection:
        if self.other is None:
            raise ValueError
        return self.other

    def close(self) -> None:
        """It has nothing to free."""


async def test_an_offer_that_is_refused_at_last_closes_its_sections(side: Side) -> None:
    """A newer offer refuses one whose other sections were taken already, or another section fails."""

    def refuse() -> None:
        raise Conflict("A newer offer was made.")

    for others, error in (((), Conflict), ((OtherLine(None),), ValueError)):
        used = OtherSection()
        lines = (OtherLine(used), *others)
        with pytest.raises(error):
            await side.server.connect("a", CHROMIUM, side.camera(), lines=lines, check=refuse)
        assert (used.opened, used.closed) == (0, 1)
    assert side.camera().feed is None


async def test_two_cameras_see_nothing_of_each_other() -> None:
    """Each name has its own frames; ending one leaves the other."""
    async with (
        live_encoder(320, 240) as small,
        live_encoder(640, 480) as large,
        webrtc_side() as side,
        camera_peer(small) as one,
        camera_peer(large) as two,
    ):
        await join(side, one, "a")
        await join(side, two, "b")
        await side.frames_of("a", 3)
        await side.frames_of("b", 3)
        assert {f.width for f in side.frames["a"]} == {320}
        assert {f.width for f in side.frames["b"]} == {640}
        assert await side.server.disconnect("a")
        await side.frames_of("b", 2)
        assert side.camera("a").state() is CameraState.ENDED
        assert side.camera("b").state() is CameraState.LIVE


async def test_disconnect_ends_the_camera(side: Side, peer: Peer) -> None:
    """The peer hears it, the camera is ended, a second call gets another result."""
    await show(side, peer)
    assert await side.server.disconnect("a") is True
    assert side.camera().state() is CameraState.ENDED
    assert len(side.server) == 0
    await side.until(lambda: peer.pc.connectionState in ("closed", "failed"))
    assert await side.server.disconnect("a") is False
    with pytest.raises(NotFound):
        await side.server.get("a").add_candidates([])


async def test_a_peer_that_closes_ends_the_camera(side: Side, peer: Peer) -> None:
    """Its DTLS goodbye is enough."""
    await show(side, peer)
    await peer.close()
    await side.until(lambda: side.camera().state() is CameraState.ENDED)
    await side.until(lambda: len(side.server) == 0)


async def test_a_bye_ends_the_camera(side: Side, peer: Peer) -> None:
    """A sender that stops its track says BYE; the connection may stay."""
    await show(side, peer)
    await peer.sender.stop()
    await side.until(lambda: side.camera().state() is CameraState.ENDED)


async def test_connecting_has_a_deadline() -> None:
    """A peer that never comes is given up, without an event of aiortc's."""
    async with (
        live_encoder() as encoder,
        webrtc_side(connect_seconds=0.3) as side,
        camera_peer(encoder) as peer,
    ):
        await side.connect(without(await peer.offer(), *CANDIDATES))
        assert side.camera().state() is CameraState.STARTING
        start = asyncio.get_running_loop().time()
        await side.until(lambda: side.camera().state() is CameraState.ENDED, 5)
        # A timer of the loop, which may be late on a busy machine, and never early.
        assert asyncio.get_running_loop().time() - start > 0.2
        await side.until(lambda: len(side.server) == 0)
        with pytest.raises(NotFound):
            await side.server.get("a").add_candidates(trickled(CHROMIUM))


async def test_a_connection_in_time_outlives_the_deadline() -> None:
    async with (
        live_encoder() as encoder,
        webrtc_side(connect_seconds=1.0) as side,
        camera_peer(encoder) as peer,
    ):
        await join(side, peer)
        await side.frames_of(count=1)
        await side.frames_of(count=20)
        assert side.camera().state() is CameraState.LIVE


async def test_a_camera_that_connects_and_shows_nothing_is_told(
    side: Side, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stands, every picture of it is lost: it does not stay "starting", and it may still come."""
    monkeypatch.setattr(camera_state, "FIRST_FRAME_S", 0.5)
    await join(side, peer)
    peer.drop = lambda data: True
    await side.until(lambda: side.camera().state() is CameraState.STALLED)
    peer.drop = None
    await side.until(lambda: side.camera().state() is CameraState.LIVE)


async def test_the_answer(side: Side) -> None:
    """Passive, receives one video with RTX, NACK and PLI kept; sends nothing."""
    answer = await side.connect(CHROMIUM)
    assert lines(answer, "a=setup:") == ["a=setup:passive"]
    assert "a=recvonly" in answer.split("\r\n")
    mapped = {line.split()[1] for line in lines(answer, "a=rtpmap:")}
    assert mapped == {"VP8/90000", "H264/90000", "rtx/90000"}
    assert "a=fmtp:97 apt=96" in answer.split("\r\n")
    assert {"a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack pli"} <= set(answer.split("\r\n"))
    assert any("abs-send-time" in line for line in lines(answer, "a=extmap:"))
    assert not lines(answer, "m=application")
    assert lines(answer, "a=candidate:")


async def test_whoever_asks_for_a_picture_gets_none(side: Side) -> None:
    """An offer to send and to receive is answered as one to send."""
    answer = await side.connect(CHROMIUM.replace("a=sendonly", "a=sendrecv"))
    directions = {"a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"}
    assert directions.intersection(answer.split("\r\n")) == {"a=recvonly"}


@pytest.mark.parametrize(
    "parameters",
    [
        *("42001f", "42e01f", "42c02a", "4d401f", "64001f", "640028", "640c1f"),
        *("42e01f;packetization-mode=0", "64001f;packetization-mode=0"),
    ],
)
async def test_h264_that_can_be_decoded_is_answered(side: Side, parameters: str) -> None:
    """Baseline, main and high, of any level, in either packetization mode: all that one decoder reads anyway."""
    profile, _, mode = parameters.partition(";")
    fmtp = f"a=fmtp:103 profile-level-id={profile};{mode or 'packetization-mode=1'}"
    offer = "\r\n".join(
        fmtp if line.startswith("a=fmtp:103") else line
        for line in CHROMIUM.replace("VP8/", "VP9/").split("\r\n")
    )
    answer = await side.connect(offer)
    mapped = {line.split()[1] for line in lines(answer, "a=rtpmap:")}
    assert mapped == {"H264/90000", "rtx/90000"}
    (answered,) = [line for line in lines(answer, "a=fmtp:103") if "profile" in line]
    assert f"profile-level-id={profile[:2]}" in answered
    assert (mode or "packetization-mode=1") in answered


async def test_a_peer_that_waits_for_our_handshake(side: Side, peer: Peer) -> None:
    """a=setup:passive: the answer is active, as of nobody else, and the camera works."""
    offer = (await peer.offer()).replace("a=setup:actpass", "a=setup:passive")
    answer = await side.connect(offer)
    assert lines(answer, "a=setup:") == ["a=setup:active"]
    await peer.accept(answer)
    await side.frames_of(count=2)


@pytest.mark.parametrize("version", [4, 6])
async def test_offers_of_one_address_family(side: Side, peer: Peer, version: int) -> None:
    """Its candidates alone are there, and the pair that is used is one of them."""
    other = peer.sender.transport.transport._connection
    other._use_ipv4, other._use_ipv6 = version == 4, version == 6
    offer = await peer.offer()
    found = [ipaddress.ip_address(line.split()[4]) for line in lines(offer, "a=candidate:")]
    if not found:
        pytest.skip(f"this machine has no IPv{version} address but loopback's")
    assert {address.version for address in found} == {version}
    await peer.accept(await side.connect(offer))
    await side.frames_of(count=2)
    used = side.server.get("a")._receiver.transport.transport._connection._nominated[1]
    assert ipaddress.ip_address(used.remote_addr[0]).version == version


@pytest.mark.parametrize("codec", ["vp8", "h264"])
async def test_a_turned_camera_is_followed(codec: str) -> None:
    """1280×720 becomes 720×1280 in mid-stream and back again: frames have the size that was sent, and the state is live."""
    async with (
        live_encoder(1280, 720, codec=codec) as encoder,
        webrtc_side() as side,
        camera_peer(encoder) as peer,
    ):
        await join(side, peer)
        await side.frames_of(count=3)
        camera = side.camera()
        for width, height in ((720, 1280), (1280, 720)):
            told: list[tuple[int, int] | None] = []
            camera.on_status.append(
                lambda told=told: told.append(  # type: ignore[misc]
                    (camera.newest.width, camera.newest.height) if camera.newest else None
                )
            )
            encoder.turn(Scene(width, height))
            await side.until(lambda size=(width, height), told=told: size in told)  # type: ignore[misc]
            frames = await side.frames_of(count=3)
            assert {(f.width, f.height, f.image.width) for f in frames} == {(width, height, width)}
            assert camera.state() is CameraState.LIVE


async def test_audio_and_further_video_are_answered_inactive(side: Side, peer: Peer) -> None:
    """One camera is received, and it works; nothing else is."""
    peer.pc.addTransceiver("audio", direction="sendrecv")
    peer.pc.addTransceiver("video", direction="sendrecv")
    answer = await join(side, peer)
    directions = [
        line
        for line in answer.split("\r\n")
        if line[2:] in ("sendrecv", "sendonly", "recvonly", "inactive")
    ]
    assert directions == ["a=recvonly", "a=inactive", "a=inactive"]
    assert set(lines(answer, "a=setup:")) == {"a=setup:passive"}
    await side.frames_of(count=3)


AUDIO = "\r\n".join(
    [
        *("m=audio 9 UDP/TLS/RTP/SAVPF 111", "c=IN IP4 0.0.0.0", "a=mid:beside", "a=sendonly"),
        *("a=rtcp-mux", "a=rtpmap:111 opus/48000/2", "a=ice-ufrag:abcd", "a=setup:actpass"),
        *("a=ice-pwd:0123456789012345678901", "a=fingerprint:sha-256 AA:BB", ""),
    ]
)


@pytest.mark.parametrize("first", [True, False])
async def test_audio_with_a_transport_of_its_own_is_rejected(first: bool) -> None:
    """Nothing is opened for it, and the camera's own transport decides what is connected: no limit is left."""
    async with (
        live_encoder() as encoder,
        webrtc_side(connect_seconds=NEVER_SECONDS) as side,
        camera_peer(encoder) as peer,
    ):
        offer = await peer.offer()
        at = offer.index("m=video") if first else len(offer)
        answer = await side.connect(offer[:at] + AUDIO + offer[at:])
        connection = side.server._connections["a"]
        assert len(connection._pc._RTCPeerConnection__iceTransports) == 1  # type: ignore[attr-defined]
        for mid in ("beside", "0"):
            found = [{**entry, "sdpMid": mid} for entry in trickled(offer)]
            used = await side.server.get("a").add_candidates(found)
            assert used == (0 if mid == "beside" else len(found))
        assert lines(answer, "a=group:") == ["a=group:BUNDLE 0"]
        assert [line.split()[1] for line in lines(answer, "m=audio")] == ["0"]
        # aiortc knows no rejected sections.
        head, *sections = re.split("^(?=m=)", answer, flags=re.M)
        await peer.accept(head + next(s for s in sections if s.startswith("m=video")))
        await side.frames_of()
        assert not connection._deadline
        await side.frames_of(count=3)
        assert side.camera().state() is CameraState.LIVE


@pytest.mark.parametrize("step", ["setRemoteDescription", "createAnswer", "setLocalDescription"])
@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
async def test_an_offer_that_fails_half_way_leaves_the_connection_alone(
    side: Side, peer: Peer, step: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera goes on as it was, and nothing of the failed one is left."""
    await show(side, peer)
    leftovers = Leftovers()
    real = getattr(RTCPeerConnection, step)

    async def fail(self: RTCPeerConnection, *arguments: Any) -> None:
        await real(self, *arguments)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(RTCPeerConnection, step, fail)
        with pytest.raises(UnusableOffer if error is ValueError else error):
            await side.connect(CHROMIUM)
    await leftovers.none()
    await side.frames_of(count=3)
    assert side.camera().state() is CameraState.LIVE
    assert len(side.server) == 1


async def test_a_clients_data_channel_carries_nothing(side: Side, peer: Peer) -> None:
    """The camera works beside it; it never opens, and nothing that is sent into it is taken in."""
    channel = peer.pc.createDataChannel("smuggle")
    opened: list[bool] = []
    channel.on("open", lambda: opened.append(True))
    await show(side, peer, 5)
    assert opened == []
    assert channel.readyState == "connecting"
    connection = side.server._connections["a"]
    # Nothing is there that could take it in.
    assert connection._pc.sctp is None
    assert connection._receiver.transport._data_receiver is None
    # Application data is read and discarded.
    assert isinstance(connection._receiver.transport._ssl, DrainedTls)


@pytest.mark.slow
async def test_a_lost_packet_is_sent_again(side: Side, peer: Peer) -> None:
    """Every fifth packet is lost once; NACK and RTX bring it back, and no frame is missing."""
    await show(side, peer)
    lost = 0

    def drop(data: bytes) -> bool:
        nonlocal lost
        sequence = struct.unpack_from("!H", data, 2)[0]
        if is_first_time(data, 97) and sequence % 5 == 3:
            lost += 1
            return True
        return False

    peer.drop = drop
    frames = await side.frames_of(count=30, seconds=20)
    assert lost >= 10
    assert peer.resent >= lost - 2
    assert all(a.rtp_time < b.rtp_time for a, b in itertools.pairwise(frames))
    # A busy machine's encoder and decoder may skip frames; none is skipped for a packet.
    assert side.counted('frames_skipped_total{reason="no_key"}') == 0
    assert side.counted('frames_skipped_total{reason="broken"}') == 0


async def test_a_loss_that_is_never_repaired_is_given_up_by_time(side: Side, peer: Peer) -> None:
    """Without retransmission the hole is given up and a key frame asked for: the picture is back. media/video/test_assemble.py holds the time."""
    await show(side, peer, 2)
    gone: set[int] = set()
    before = peer.plis

    def drop(data: bytes) -> bool:
        # The first one, and everything that would repair it.
        packet = RtpPacket.parse(data)
        if is_first_time(data, 97):
            if not gone:
                gone.add(packet.sequence_number)
            return packet.sequence_number in gone
        return struct.unpack_from("!H", packet.payload)[0] in gone

    peer.drop = drop
    await side.until(lambda: bool(gone))
    shown = len(side.frames["a"])
    await side.until(lambda: len(side.frames["a"]) > shown, 5)
    assert peer.plis > before
    assert peer.resent >= 2
    assert side.counted('frames_skipped_total{reason="broken"}') >= 1
    await side.frames_of(count=5)


RIDS = "".join(f"a=rid:{n} send\r\n" for n in "123") + "a=simulcast:send 1;2;3\r\n"
RID_LINES = "a=extmap:10 urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n" + RIDS


@pytest.mark.slow
@pytest.mark.parametrize("lines", [RID_LINES, ""], ids=["rid", "none"])
async def test_one_layer_of_simulcast_is_kept(side: Side, peer: Peer, lines: str) -> None:
    """Three streams at once: the first one stays, and no key frame is asked for."""
    await peer.accept(await side.connect(await peer.offer() + lines))
    send, sender = peer.sender.transport._send_rtp, peer.sender

    async def layered(data: bytes) -> None:
        await send(data)
        if data[8:12] == sender._ssrc.to_bytes(4, "big"):
            for layer in (1, 2):
                await send(data[:8] + (sender._ssrc ^ layer).to_bytes(4, "big") + data[12:])

    peer.sender.transport._send_rtp = layered  # type: ignore[method-assign]
    await side.frames_of(count=3)
    asked, skipped = peer.plis, side.counted('frames_skipped_total{reason="no_key"}')
    await side.frames_of(count=30)
    assert peer.plis == asked
    assert side.counted('frames_skipped_total{reason="no_key"}') == skipped


@pytest.mark.slow
async def test_a_new_ssrc_goes_on(side: Side, peer: Peer) -> None:
    """A sender that begins a new stream in mid-connection is followed; the old one's goodbye does not end it."""
    await show(side, peer, 2)
    old = peer.sender._ssrc
    peer.sender._ssrc = 0x12345678
    receiver = side.server._connections["a"]._receiver
    await side.until(lambda: receiver._stream is not None and receiver._stream.ssrc == 0x12345678)
    peer.feed.encoder.request_key()
    await side.frames_of(count=3)
    await peer.sender._send_rtcp([RtcpByePacket(sources=[old])])
    await side.frames_of(count=5)
    assert side.camera().state() is CameraState.LIVE


async def test_the_estimate_is_told() -> None:
    """The path's rate reaches the camera, and its sender block changes with it."""
    async with (
        live_encoder(1280, 720, bits_per_frame=120_000) as encoder,
        webrtc_side() as side,
        camera_peer(encoder) as peer,
    ):
        told: list[int] = []
        camera = side.camera()
        camera.on_sender.append(lambda wake_ms: told.append(camera.sender().awake.max_bitrate))
        await join(side, peer)
        await side.until(lambda: bool(told), 5)
        assert all(bitrate >= 120_000 for bitrate in told)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda s: without(s, "a=ice-"), "could not be understood"),
        (lambda s: without(s, "a=fingerprint"), "fingerprint"),
        (lambda s: s.replace("BUNDLE 0", "BUNDLE 7"), "BUNDLE"),
        (lambda s: s.replace("BUNDLE 0", "BUNDLE 0 0"), "BUNDLE"),
        (lambda s: s + s[s.index("m=video") :], "same name"),
        (lambda s: s.replace("fmtp:97", "fmtp:98"), "could not be understood"),
        (lambda s: s.replace("=42e01f", "=7a001f").replace("VP8", "VP9"), "No offered codec"),
    ],
)
async def test_unusable_offers(side: Side, change: Callable[[str], str], word: str) -> None:
    """Whatever does not fit together is 422, with what to do."""
    with pytest.raises(UnusableOffer, match=word) as caught:
        await side.connect(change(CHROMIUM))
    assert caught.value.status == 422
    assert len(side.server) == 0


class Leftovers:
    """Tasks, descriptors and threads of this process, before and after."""

    def __init__(self) -> None:
        self.before = self.count()

    @staticmethod
    def count() -> tuple[int, int, int]:
        return (
            len(asyncio.all_tasks()),
            len(os.listdir("/proc/self/fd")),
            threading.active_count(),
        )

    async def none(self) -> None:
        deadline = time.monotonic() + 5
        while any(now > then for now, then in zip(self.count(), self.before, strict=True)):
            left = [task.get_name() + repr(task.get_coro()) for task in asyncio.all_tasks()]
            assert time.monotonic() < deadline, (self.before, self.count(), left)
            await asyncio.sleep(0.02)


async def offer_all(offers: list[str]) -> tuple[int, int]:
    """Offer each, let it try to connect, leave it; how many were taken and how many refused."""
    taken = refused = 0
    statuses: set[int] = set()
    trouble: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: trouble.append(context))
    async with webrtc_side() as side:
        # Threads begin with the first use.
        await side.connect(CHROMIUM)
        await side.server.disconnect("a")
        leftovers = Leftovers()
        for offer in offers:
            try:
                await side.connect(offer)
                taken += 1
                await asyncio.sleep(0.005)
                await side.server.disconnect("a")
            except QwenCameraError as error:
                statuses.add(error.status)
                refused += 1
        await side.until(lambda: len(side.server._tasks) == 0)
        await leftovers.none()
    loop.set_exception_handler(None)
    assert trouble == []
    assert statuses <= {413, 422}
    return taken, refused


def mutated(sdp: str, chance: random.Random) -> str:
    """One to three lines lost, doubled, moved, cut, or with another word in them."""
    rows = sdp.split("\r\n")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(rows))
        match chance.randrange(6):
            case 0:
                del rows[at]
            case 1:
                rows.insert(chance.randrange(len(rows)), rows[at])
            case 2:
                rows[at] = rows[at][: chance.randrange(len(rows[at]) + 1)]
            case 3:
                words = rows[at].split(" ")
                words[chance.randrange(len(words))] = chance.choice(
                    ["", "0", "-1", "65536", "9" * 30, "x", "é", "96", "/", "a:b", "\x00"]
                )
                rows[at] = " ".join(words)
            case 4:
                rows[at] = rows[at].replace(":", chance.choice([" ", "::", ""]), 1)
            case 5:
                rows[at] += chance.choice([" ", ":", " 1", "\x00", ";=;", "apt="])
    return "\r\n".join(rows)


@pytest.mark.slow
async def test_mutated_offers_are_taken_or_refused_and_leave_nothing() -> None:
    """A real offer with a line or two damaged: an answer, or 413 or 422; no task, socket or thread stays."""
    async with live_encoder() as encoder, camera_peer(encoder) as peer:
        peer.pc.addTransceiver("audio")
        peer.pc.createDataChannel("x")
        offer = await peer.offer()
    chance = random.Random(20)
    taken, refused = await offer_all(
        [mutated(sdp, chance) for sdp in (offer, CHROMIUM) for _ in range(150)]
    )
    assert taken > 50
    assert refused > 50


WORDS = st.sampled_from(
    [
        *{line.partition(":")[0] + ":" for line in CHROMIUM.split("\r\n") if ":" in line},
        *CHROMIUM.split("\r\n"),
        *("m=video 9 UDP/TLS/RTP/SAVPF 96", "m=audio 9 UDP/TLS/RTP/SAVPF 0", "a=sendonly"),
        *("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000", "a=mid:1"),
    ]
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(WORDS | st.text(max_size=40), max_size=60))
def test_any_sdp_is_taken_or_refused(rows: list[str]) -> None:
    """Lines of a real offer in any order, and text: only our own errors come out, and nothing stays."""
    asyncio.run(_offer_once("\r\n".join(["v=0", *rows])))


async def _offer_once(sdp: str) -> None:
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    async with webrtc_side() as side:
        with contextlib.suppress(TooLarge, UnusableOffer):
            await side.connect(sdp)
    assert len(asyncio.all_tasks()) == 1
    assert trouble == []


async def test_ending_while_connecting_leaves_nothing() -> None:
    """Disconnected, replaced or closed right after the answer, and in the midst of DTLS."""
    async with live_encoder() as encoder:
        async with webrtc_side() as side, camera_peer(encoder) as warm:
            await join(side, warm)
            await side.frames_of()
        leftovers = Leftovers()
        async with webrtc_side() as side:
            for pause in (0.0, 0.0, 0.002, 0.01, 0.02):
                peer = Peer(encoder)
                await join(side, peer)
                await asyncio.sleep(pause)
                if pause:
                    await side.server.disconnect("a")
                await peer.close()
            peer = Peer(encoder)
            await join(side, peer)
            await asyncio.sleep(0.01)
        await peer.close()
        await leftovers.none()


async def test_hostile_datagrams_do_not_disturb_a_connection(side: Side, peer: Peer) -> None:
    """A stranger's DTLS alerts, RTP and empty datagrams at every port of the server end nothing."""
    answer = await side.connect(await peer.offer())
    ports = {
        (line.split()[4], int(line.split()[5]))
        for line in lines(answer, "a=candidate:")
        if ":" not in line.split()[4]
    }
    loop = asyncio.get_running_loop()
    stranger, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("0.0.0.0", 0)
    )
    alert = b"\x15\xfe\xfd" + bytes(8) + b"\x00\x02\x02\x28"
    sent = 0

    def fire() -> None:
        nonlocal sent
        for address in ports:
            for data in (alert, b"\x16\xfe\xfd" + os.urandom(60), b"\x80" + bytes(30), b""):
                stranger.sendto(data, address)
                sent += 1

    fire()
    await peer.accept(answer)
    for _ in range(20):
        fire()
        await asyncio.sleep(0.005)
    await side.frames_of(count=3)
    fire()
    await side.frames_of(count=3)
    stranger.close()
    assert sent > 80


async def test_memory_is_given_back_once_for_many() -> None:
    """A burst of connections that end has one call into the C library."""
    async with webrtc_side(trim_seconds=NEVER_SECONDS) as side:
        calls: list[object] = []
        pool = side.server._trim_pool
        submit = pool.submit
        pool.submit = lambda *work: calls.append(work) or submit(*work)  # type: ignore
        server = side.server
        for _ in range(3):
            await side.connect(CHROMIUM)
            await server.disconnect("a")
        await side.until(lambda: bool(server._trim) and not len(server._tasks))
        # One timer, however long these three have taken
        scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
        (timer,) = (one for one in scheduled if one._callback == server._trim._run_due)
        timer._run()
        assert len(calls) == 1

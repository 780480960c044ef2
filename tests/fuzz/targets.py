"""The readers of untrusted bytes, one function each: they take any bytes, or raise our errors.

A target raises for everything else; what it raised for is kept in tests/fuzz/seeds and run by
tests/project/test_fuzz_seeds.py.
"""

from __future__ import annotations

import ipaddress
import json
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import aioice.ice
import av
from aiortc.rtcdtlstransport import RTCDtlsTransport, RtpRouter
from aiortc.rtcrtpparameters import (
    RTCRtpCodecParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiveParameters,
)
from aiortc.rtp import HeaderExtensionsMap, RtcpSrPacket
from aiortc.sdp import candidate_from_sdp
from websockets.frames import Frame
from websockets.http11 import Request

from server.auth import TokenIssuer, TokenRefused
from server.core.addresses import get_client_address, get_limiter_key, parse_address
from server.core.errors import QwenCameraError
from server.core.frames import READABLE, BoxUnit
from server.core.redact import LONGEST, redact, remove_controls
from server.core.sound import SOUND_RATE
from server.features.cameras.fragment import parse_fragment
from server.features.pointing import boxes as pointing
from server.media.patches import datagrams, receiver
from server.media.sdp import (
    MAX_CANDIDATES,
    check_offer,
    is_other_component,
    is_unreachable,
)
from server.media.video import payload
from server.media.video.assemble import MAX_PACKETS, Assembler
from server.media.video.capture_clock import CaptureClock
from server.media.video.decode import FRAMES, H264Frames, fits, open_decoder
from server.media.video.payload import Packet
from server.shared.sound.line import find_voice
from server.shared.sound.microphone import MOST_BURST, MOST_SPEED, MicrophoneStream, SoundBudget
from server.shared.watch_answers import read_answers
from server.web.protocols import (
    FRAME_BURST,
    FRAME_RATE,
    BoundedFrames,
)
from tests.features.rooms import parser
from tests.support.text_readers import READERS

Target = Callable[[bytes], None]

MOST_MESSAGE = 64 * 1024
# Ten times what test_text_cost.py allows: the fuzzer's code is slower, and finds what is slower by far.
MOST_READING_SECONDS = 0.05
HANDSHAKE = (
    b"GET /ws/a HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
)


def text(data: bytes) -> str:
    """As JSON brings it: anything, lone surrogates too."""
    return data.decode("utf-8", "surrogateescape")


def offer(data: bytes) -> None:
    """The SDP of POST /api/webrtc/offer."""
    with suppress(QwenCameraError):
        taken = check_offer(text(data))
        assert taken.candidates <= MAX_CANDIDATES
        assert "\na=end-of-candidates" not in taken.sdp
        voice = find_voice(taken)
        if voice is not None:
            transport = ["c=IN IP4 192.0.2.1", "a=ice-ufrag:abcd"]
            lines = voice.lines(taken.sections[voice.number], "9", transport, 1)
            assert not any("\n" in line or "\r" in line for line in lines)


def candidate(data: bytes) -> None:
    """One trickled candidate; what is caught is what `PeerConnection.add_candidates` catches."""
    line = text(data)
    if is_unreachable(line) or is_other_component("a=candidate:" + line):
        return
    with suppress(ValueError, IndexError, AssertionError, KeyError):
        candidate_from_sdp(line)


def fragment(data: bytes) -> None:
    """The SDP fragment of WHIP's PATCH."""
    with suppress(QwenCameraError):
        read = parse_fragment(text(data))
        assert len(read.candidates) <= MAX_CANDIDATES


def message(data: bytes) -> None:
    """A message of the WebSocket. Anything that is taken can be written again."""
    with suppress(QwenCameraError):
        known = parser()
        taken = known.parse(text(data))
        again = known.parse(json.dumps(taken.model_dump(mode="json")))
        assert again == taken


def token(data: bytes) -> None:
    """A token that nobody signed is refused."""
    try:
        _ISSUER.verify(text(data))
    except TokenRefused:
        return
    raise AssertionError("a token was taken")


_ISSUER = TokenIssuer("k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i", 60)


def address(data: bytes) -> None:
    """X-Forwarded-For."""
    header = text(data)
    found = get_client_address("127.0.0.1", header, _PROXIES)
    assert parse_address(found) is not None
    assert len(get_limiter_key(found)) < 60


_PROXIES = [ipaddress.ip_network("127.0.0.0/8")]


def stun(data: bytes) -> None:
    """A datagram of a stranger: none but STUN for this connection goes on, and nothing is raised."""
    passed: list[bytes] = []
    connection = aioice.ice.Connection(
        ice_controlling=False, local_username="abcd", local_password="p" * 22
    )
    connection.remote_username = "efgh"
    protocol = SimpleNamespace(receiver=connection, transactions={b"t" * 12: None})
    handler = datagrams.check_datagrams(lambda _, datagram, addr: passed.append(datagram))
    handler(protocol, data, ("192.0.2.1", 5000))
    assert not passed or data[0] <= 1


class _Sink:
    """A receiver of the router's."""

    def __init__(self) -> None:
        self.clock = CaptureClock()
        self.packets: list[Any] = []

    async def _handle_rtp_packet(self, packet: Any, arrival_time_ms: int) -> None:
        self.packets.append(packet)

    async def _handle_rtcp_packet(self, packet: Any) -> None:
        if isinstance(packet, RtcpSrPacket):
            info = packet.sender_info
            self.clock.report(info.ntp_timestamp / (1 << 32), info.rtp_timestamp, 0.0)
            self.clock.frame(info.rtp_timestamp, 1.0)


def _transport() -> tuple[Any, _Sink]:
    """aiortc's transport behind decryption, with one camera; no network."""
    receiver.install()
    sink, router, extensions = _Sink(), RtpRouter(), HeaderExtensionsMap()
    names = [
        "urn:ietf:params:rtp-hdrext:sdes:mid",
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        "urn:ietf:params:rtp-hdrext:toffset",
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
        "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    ]
    extensions.configure(
        RTCRtpReceiveParameters(
            codecs=[RTCRtpCodecParameters(mimeType="video/VP8", clockRate=90000, payloadType=96)],
            headerExtensions=[
                RTCRtpHeaderExtensionParameters(id=number, uri=uri)
                for number, uri in enumerate(names, 1)
            ],
        )
    )
    router.register_receiver(sink, ssrcs=[1], payload_types=[96])  # type: ignore[arg-type]
    router.register_sender(sink, ssrc=2)  # type: ignore[arg-type]
    transport = SimpleNamespace(
        _rtp_router=router,
        _rtp_header_extensions_map=extensions,
        _RTCDtlsTransport__log_debug=lambda *_: None,
    )
    return transport, sink


def _run(coroutine: Any) -> None:
    """It has nothing to wait for."""
    with suppress(StopIteration):
        coroutine.send(None)
        raise AssertionError("it waits")


def rtcp(data: bytes) -> None:
    """Decrypted RTCP of a peer with good keys, as our guard around aiortc takes it."""
    transport, _ = _transport()
    _run(RTCDtlsTransport._handle_rtcp_data(transport, data))


def rtp(data: bytes) -> None:
    """Decrypted RTP packets, each behind two bytes of length: assembled, decodable or dropped."""
    transport, sink = _transport()
    position = 0
    while position + 2 <= len(data) and len(sink.packets) < 2000:
        (size,) = struct.unpack_from("!H", data, position)
        one = data[position + 2 : position + 2 + size % 1500]
        position += 2 + size % 1500
        _run(RTCDtlsTransport._handle_rtp_data(transport, one, 0))
    for codec in ("VP8", "H264"):
        assembler, now = Assembler(), 0.0
        frames = []
        for number, packet in enumerate(sink.packets):
            now += 0.01
            try:
                part = payload.parse(codec, packet.payload)
            except ValueError:
                continue
            mine = Packet(
                packet.sequence_number,
                packet.timestamp,
                bool(packet.marker),
                part.data,
                part.start,
                part.key,
            )
            frames += assembler.add(mine, now, number % 7 == 6)
            assert assembler.held <= 2 * MAX_PACKETS + 1
            assert len(assembler.take_nacks(now)) <= 64
            assembler.take_key_frame_request(now)
            due = assembler.deadline()
            if due <= now:
                frames += assembler.poll(now)
        for frame in frames:
            assert frame.data
            if codec == "H264":
                with suppress(ValueError):
                    H264Frames().check(frame.data)


def microphone(data: bytes) -> None:
    """Opus packets of a peer with good keys, each behind its size, sequence, time, level and pause: no more sound than
    time, and nothing raised.
    """
    made: list[int] = []
    position, now, count = 0, 100.0, 0
    stream = MicrophoneStream(
        lambda sound: made.append(len(sound.samples)), lambda _reason: None, SoundBudget(now)
    )
    while position + 10 <= len(data) and count < 500:
        size, sequence, timestamp, level, pause = struct.unpack_from("!HHIBB", data, position)
        payload_bytes = data[position + 10 : position + 10 + size % 1500]
        position += 10 + size % 1500
        count += 1
        now += pause / 255
        stream.packet(sequence, timestamp, payload_bytes, level if level < 128 else None, now)
        stream.poll(now)
    assert sum(made) / SOUND_RATE <= MOST_BURST + MOST_SPEED * (now - 100.0) + 2.2


def sps(data: bytes) -> None:
    """An H.264 frame's parameter sets."""
    with suppress(ValueError):
        checked = H264Frames().check(data)
        assert H264Frames().check(checked) == checked
    with suppress(ValueError):
        H264Frames().check(b"\0\0\1\x67" + data)


# The largest pictures and all picture parameter sets
MAX_KEPT = 94 << 20


def _decode(codec: str, data: bytes) -> None:
    """Frames behind two bytes of length each, into one decoder, as `DecodeLane` does it."""
    decoder, frames = open_decoder(codec), FRAMES[codec]()
    position = 0
    while position + 2 <= len(data):
        (size,) = struct.unpack_from("!H", data, position)
        frame = data[position + 2 : position + 2 + size]
        position += 2 + size
        if not frame:
            continue
        with suppress(ValueError, av.FFmpegError):
            checked = frames.check(frame)
            assert frames.kept <= MAX_KEPT
            for image in decoder.decode(av.Packet(checked)):
                assert fits(image.width, image.height)
                assert image.format.name in READABLE
        assert not decoder.has_b_frames


def vp8(data: bytes) -> None:
    """Frames for libav's own VP8 decoder."""
    _decode("VP8", data)


def h264(data: bytes) -> None:
    """Frames for libav's H.264 decoder, behind the check of their parameter sets."""
    _decode("H264", data)


def answers(data: bytes) -> None:
    """A model's words about watches and places: read, or not, and never outside of the picture."""
    said = text(data)
    for answer in read_answers(said, ("w1", "w2")).values():
        assert 0 <= answer.confidence <= 1
    for unit in BoxUnit:
        for box in pointing.parse_answer(said, unit, picture=(840, 448), frame=(1280, 720)).boxes:
            assert 0 <= box.x1 <= box.x2 <= 1280
            assert 0 <= box.y1 <= box.y2 <= 720


def log_line(data: bytes) -> None:
    """A line of an engine's output: bounded, and without an escape sequence."""
    shown = remove_controls(redact(text(data)))
    assert len(shown) <= LONGEST
    assert not {"\x1b", "\n", "\r"} & set(shown)


def frames(data: bytes) -> None:
    """A client's WebSocket frames: only so many are kept or answered."""
    socket = BoundedFrames(max_size=MOST_MESSAGE)
    socket.receive_data(HANDSHAKE)
    (request,) = socket.events_received()
    assert isinstance(request, Request)
    socket.send_response(socket.accept(request))
    socket.data_to_send()
    socket.receive_data(data)
    kept = [event for event in socket.events_received() if isinstance(event, Frame)]
    # Those that a slow run gives back meanwhile, too
    assert len(kept) <= FRAME_BURST + FRAME_RATE
    assert sum(len(one.data) for one in kept) <= len(data)
    assert sum(map(len, socket.data_to_send())) <= 2 * len(data) + 200


for _read, _ in READERS.values():
    # Patterns of languages are made when they are first used.
    _read("a word")


def words(data: bytes) -> None:
    """A piece of text again and again, as long as each reader of others' text ever gets it: none holds the loop."""
    piece = text(data[:200]) or " "
    for name, (read, most) in READERS.items():
        long = (piece * (most // len(piece) + 1))[:most]
        began = time.thread_time()
        read(long)
        took = time.thread_time() - began
        assert took < MOST_READING_SECONDS, f"{name} took {took:.3f} s"


_ALL: tuple[Target, ...] = (
    *(offer, candidate, fragment, message, token, address, stun, rtp, rtcp, microphone),
    *(sps, vp8, h264, answers, log_line, frames, words),
)
TARGETS = {one.__name__: one for one in _ALL}

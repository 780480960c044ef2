"""RTSP's messages, descriptions, addresses and packets, well formed and not."""

from __future__ import annotations

import base64
import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker import rtsp
from server.features.rtsp.worker.rtsp import (
    START,
    Depacketizer,
    EncodedPicture,
    FailureReason,
    SourceFailed,
)

SPS, PPS = b"\x67\x42\x00\x1e\x80", b"\x68\xce"
SETS = f"{base64.b64encode(SPS).decode()},{base64.b64encode(PPS).decode()}"


def described(*lines: str) -> bytes:
    return "\r\n".join(["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=x", *lines]).encode()


H264 = described(
    "m=audio 0 RTP/AVP 97",
    "a=rtpmap:97 PCMU/8000",
    "a=control:track0",
    "m=video 0 RTP/AVP 96",
    "a=rtpmap:96 H264/90000",
    f"a=fmtp:96 packetization-mode=1;sprop-parameter-sets={SETS};profile-level-id=42001e",
    "a=control:track1",
)


def trouble(call: object) -> FailureReason:
    assert callable(call)
    with pytest.raises(SourceFailed) as failed:
        call()
    return failed.value.trouble


def test_a_description() -> None:
    """The first video that is known, with its parameter sets."""
    track = rtsp.read_description(H264, "rtsp://host/stream/")
    assert track == rtsp.Track("H264", "rtsp://host/stream/track1", 96, (SPS, PPS))


def test_h265() -> None:
    body = described(
        "m=video 0 RTP/AVP 98",
        "a=rtpmap:98 H265/90000",
        f"a=fmtp:98 sprop-vps={base64.b64encode(b'v').decode()}; sprop-sps={base64.b64encode(b's').decode()}; sprop-pps=#",
        "a=control:rtsp://host/stream/track9",
    )
    track = rtsp.read_description(body, "rtsp://host/stream")
    assert track == rtsp.Track("H265", "rtsp://host/stream/track9", 98, (b"v", b"s"))


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (("m=video 0 RTP/AVP 26",), "JPEG"),
        (("m=video 0 RTP/AVP 96", "a=rtpmap:96 MP4V-ES/90000"), "MP4V-ES"),
        (("m=video 0 RTP/AVP 96", "a=rtpmap:96 <b>x\x1b[31m/90000"), "BX31M"),
        (("m=audio 0 RTP/AVP 0",), ""),
        ((), ""),
    ],
)
def test_other_codecs_are_refused_by_name(lines: tuple[str, ...], name: str) -> None:
    """The name is of a few harmless characters, whatever the camera says."""
    with pytest.raises(SourceFailed) as failed:
        rtsp.read_description(described(*lines), "rtsp://host/x")
    assert (failed.value.trouble, failed.value.detail) == (FailureReason.CODEC, name)


@pytest.mark.parametrize(
    ("base", "control", "address"),
    [
        ("rtsp://h/a", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a/", "track1", "rtsp://h/a/track1"),
        ("rtsp://h/a?x=1", "track1", "rtsp://h/a?x=1/track1"),
        ("rtsp://h/a", "*", "rtsp://h/a"),
        ("rtsp://h/a", "", "rtsp://h/a"),
        ("rtsp://h/a", "rtsp://other/b", "rtsp://other/b"),
    ],
)
def test_addresses(base: str, control: str, address: str) -> None:
    """They are words for the camera: the connection stays where it is."""
    assert rtsp.resolve(base, control) == address


@pytest.mark.parametrize("control", ["a\r\nX: y", "a b", "a" * 2000, "rtsp://h/\x00"])
def test_no_address_smuggles_a_line(control: str) -> None:
    assert trouble(lambda: rtsp.resolve("rtsp://h/a", control)) is FailureReason.MALFORMED


def test_statuses() -> None:
    """A redirect leads nowhere."""
    for status, expected in (
        (301, FailureReason.REDIRECT),
        (302, FailureReason.REDIRECT),
        (404, FailureReason.NOT_FOUND),
        (403, FailureReason.CREDENTIALS),
        (461, FailureReason.UDP_ONLY),
        (503, FailureReason.REFUSED),
    ):
        head = rtsp.read_head(f"RTSP/1.0 {status} Words\r\nLocation: rtsp://other/".encode())
        assert trouble(lambda head=head: rtsp.check_status(head)) is expected
    rtsp.check_status(rtsp.read_head(b"RTSP/1.0 200 OK"))


def test_sessions_and_channels() -> None:
    assert rtsp.read_session("12ab;timeout=30") == ("12ab", 30)
    assert rtsp.read_session("12ab") == ("12ab", 60)
    assert rtsp.read_session("12ab;timeout=0")[1] == 5
    assert trouble(lambda: rtsp.read_session("a b")) is FailureReason.MALFORMED
    assert rtsp.read_channel("RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=1") == 4
    # Without channels they are those that were asked for.
    assert rtsp.read_channel("RTP/AVP/TCP;unicast") == rtsp.read_channel("") == 0
    for text in ("RTP/AVP;unicast;client_port=1-2", "RTP/AVP/UDP;unicast"):
        assert trouble(lambda text=text: rtsp.read_channel(text)) is FailureReason.UDP_ONLY


@given(st.binary(max_size=2000))
def test_no_bytes_do_harm(data: bytes) -> None:
    """Anything is read, or refused as what it is."""
    for read in (rtsp.read_head, lambda body: rtsp.read_description(body, "rtsp://h/x")):
        with contextlib.suppress(SourceFailed):
            read(data)


# Packets to whole frames, of both codecs, and hostile ones.

# The first bit behind the head: the first slice of a picture, and not the first one
IDR, SLICE, REST = b"\x65\x88" + b"i" * 300, b"\x41\x9aslice", b"\x41\x10rest"
LOST = b""


def packet(
    payload: bytes, time: int, *, marker: bool = False, kind: int = 96, number: int = 1
) -> bytes:
    return struct.pack("!BBHII", 0x80, kind | marker << 7, number, time, 7) + payload


def fragments(unit: bytes, size: int) -> list[bytes]:
    """FU-A packets' payloads of a unit of H.264."""
    parts = [unit[1:][at : at + size] for at in range(0, len(unit) - 1, size)]
    return [
        bytes(
            (
                unit[0] & 0xE0 | 28,
                (0x80 if n == 0 else 0) | (0x40 if n == len(parts) - 1 else 0) | unit[0] & 0x1F,
            )
        )
        + part
        for n, part in enumerate(parts)
    ]


def test_h264() -> None:
    """Single units, aggregates and fragments; the marker ends a frame."""
    frames = Depacketizer("H264", 96)
    both = b"\x18" + struct.pack("!H", len(SPS)) + SPS + struct.pack("!H", len(PPS)) + PPS
    assert frames.packet(packet(both, 1), 5.0) == []
    whole = fragments(IDR, 100)
    for one in whole[:-1]:
        assert frames.packet(packet(one, 1), 6.0) == []
    done = frames.packet(packet(whole[-1], 1, marker=True), 6.0)
    assert done == [EncodedPicture(START + SPS + START + PPS + START + IDR, True, 6.0)]
    assert frames.packet(packet(SLICE, 2, marker=True), 7.0) == [
        EncodedPicture(START + SLICE, False, 7.0)
    ]


def test_a_missing_marker() -> None:
    """The next timestamp ends the frame as well."""
    frames = Depacketizer("H264", 96)
    assert frames.packet(packet(SLICE, 1), 1.0) == []
    assert frames.packet(packet(SLICE, 2), 2.0) == [EncodedPicture(START + SLICE, False, 1.0)]


def test_packets_of_h265() -> None:
    sets = b"\x40\x01v", b"\x42\x01s", b"\x44\x01\x80p"
    idr = b"\x26\x01\x80" + b"k" * 50
    frames = Depacketizer("H265", 98)
    both = b"\x60\x01" + b"".join(struct.pack("!H", len(one)) + one for one in sets)
    frames.packet(packet(both, 1, kind=98), 1.0)
    first = b"\x62\x01" + bytes((0x80 | 19,)) + idr[2:20]
    last = b"\x62\x01" + bytes((0x40 | 19,)) + idr[20:]
    frames.packet(packet(first, 1, kind=98), 1.0)
    done = frames.packet(packet(last, 1, kind=98, marker=True), 1.0)
    assert done == [EncodedPicture(b"".join(START + one for one in (*sets, idr)), True, 1.0)]
    done = frames.packet(packet(b"\x02\x01\x80t", 2, kind=98, marker=True), 2.0)
    assert done == [EncodedPicture(START + b"\x02\x01\x80t", False, 2.0)]


def test_other_streams_are_ignored() -> None:
    frames = Depacketizer("H264", 96)
    assert frames.packet(packet(SLICE, 1, marker=True, kind=97), 1.0) == []
    assert frames.packet(b"\x80", 1.0) == []


def test_extensions_and_padding_are_left_out() -> None:
    frames = Depacketizer("H264", 96)
    head = struct.pack("!BBHIII", 0xB1, 96 | 0x80, 1, 1, 7, 9)
    extended = head + struct.pack("!HHI", 0xBEDE, 1, 0) + SLICE + b"\0\0\3"
    assert frames.packet(extended, 1.0) == [EncodedPicture(START + SLICE, False, 1.0)]


def test_what_is_broken_is_lost() -> None:
    """A fragment without its beginning, an aggregate that ends early; the next frame is whole."""
    frames = Depacketizer("H264", 96)
    bad = (
        packet(fragments(IDR, 100)[1], 1, marker=True),
        packet(b"\x18\x00\xff" + SPS, 2, marker=True),
    )
    for one in bad:
        assert frames.packet(one, 1.0) == [EncodedPicture(LOST, False, 1.0)]
    assert frames.packet(packet(SLICE, 3, marker=True), 3.0) == [
        EncodedPicture(START + SLICE, False, 3.0)
    ]


NEW_SPS = b"\x67\x42\x00\x28\x80"


@pytest.mark.parametrize("marker", [False, True])
@pytest.mark.parametrize("time", [1, 2])
def test_parameter_sets_stay_with_the_key_frame_that_follows(marker: bool, time: int) -> None:
    """They come with the time of the picture before or of their own, each marked or not."""
    frames = Depacketizer("H264", 96, (SPS, PPS))
    assert len(frames.packet(packet(SLICE, 1, marker=True), 1.0)) == 1
    for one in (NEW_SPS, PPS):
        assert frames.packet(packet(one, time, marker=marker), 2.0) == []
    done = frames.packet(packet(IDR, 2, marker=True), 3.0)
    assert done == [EncodedPicture(START + NEW_SPS + START + PPS + START + IDR, True, 3.0)]
    # A key frame without sets of its own has the newest ones.
    assert frames.packet(packet(IDR, 4, marker=True), 4.0)[0].data == done[0].data


def test_a_key_frame_without_parameter_sets_is_lost() -> None:
    frames = Depacketizer("H264", 96, (SPS,))
    assert frames.packet(packet(IDR, 1, marker=True), 1.0) == [EncodedPicture(LOST, False, 1.0)]


def test_a_slice_with_a_marker_is_no_picture() -> None:
    """The key frame comes once more as a whole; from then on the next timestamp ends a frame."""
    frames = Depacketizer("H264", 96, (SPS, PPS))
    assert len(frames.packet(packet(IDR, 1, marker=True), 1.0)) == 1
    assert frames.packet(packet(REST, 1, marker=True), 1.5) == []
    assert frames.packet(packet(SLICE, 2, marker=True), 2.0) == [
        EncodedPicture(START + SPS + START + PPS + START + IDR + START + REST, True, 1.0)
    ]
    assert frames.packet(packet(REST, 2, marker=True), 2.5) == []
    (both,) = frames.packet(packet(SLICE, 3, marker=True), 3.0)
    assert both == EncodedPicture(START + SLICE + START + REST, False, 2.0)


def test_a_gap_in_the_numbers_loses_a_frame() -> None:
    """Also where it lies between frames. Numbers that never follow each other mean nothing."""
    frames = Depacketizer("H264", 96)
    numbers = [*range(65530, 65536), *range(6), 7, 8]
    done = [
        [unit.data for unit in frames.packet(packet(SLICE, at, marker=True, number=number), 1.0)]
        for at, number in enumerate(numbers)
    ]
    whole = [START + SLICE]
    assert done == [*[whole] * 12, [LOST, *whole], whole]
    frames = Depacketizer("H264", 96)
    for at in range(100):
        (unit,) = frames.packet(packet(SLICE, at, marker=True, number=3 * at), 1.0)
        assert unit.data


def test_a_frame_without_an_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is held than a frame may have."""
    monkeypatch.setattr(rtsp, "MAX_FRAME_BYTES", 10_000)
    frames = Depacketizer("H264", 96)
    begin, *_ = fragments(IDR, 100)
    frames.packet(packet(begin, 1), 1.0)
    middle = bytes((begin[0], 5)) + bytes(1000)
    for _ in range(100):
        frames.packet(packet(middle, 1), 1.0)
        assert sum(map(len, frames._fragment or [])) <= 10_000
    for _ in range(100):
        frames.packet(packet(SLICE * 100, 1), 1.0)
        assert sum(map(len, frames._parts)) <= 10_000
    assert frames.packet(packet(SLICE, 1, marker=True), 1.0) == [EncodedPicture(LOST, False, 1.0)]


@given(st.lists(st.binary(max_size=60), max_size=30), st.sampled_from(["H264", "H265"]))
def test_no_packets_do_harm(payloads: list[bytes], codec: str) -> None:
    frames = Depacketizer(codec, 96)
    for number, payload in enumerate(payloads):
        frames.packet(packet(payload, number // 3, marker=number % 3 == 2), 1.0)
        frames.packet(payload, 1.0)

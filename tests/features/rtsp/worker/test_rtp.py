"""Packets to whole frames, of both codecs, and hostile ones."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker import rtp
from server.features.rtsp.worker.rtp import START, Depacketizer, Unit

SPS, PPS, IDR, SLICE = b"\x67sps", b"\x68pp", b"\x65" + b"i" * 300, b"\x41slice"


def packet(payload: bytes, time: int, *, marker: bool = False, kind: int = 96) -> bytes:
    return struct.pack("!BBHII", 0x80, kind | marker << 7, 1, time, 7) + payload


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
    assert done == [Unit(START + SPS + START + PPS + START + IDR, True, 5.0)]
    assert frames.packet(packet(SLICE, 2, marker=True), 7.0) == [Unit(START + SLICE, False, 7.0)]


def test_a_missing_marker() -> None:
    """The next timestamp ends the frame as well."""
    frames = Depacketizer("H264", 96)
    assert frames.packet(packet(SLICE, 1), 1.0) == []
    assert frames.packet(packet(SLICE, 2), 2.0) == [Unit(START + SLICE, False, 1.0)]


def test_h265() -> None:
    vps, idr = b"\x40\x01v", b"\x26\x01" + b"k" * 50
    frames = Depacketizer("H265", 98)
    both = b"\x60\x01" + struct.pack("!H", len(vps)) + vps
    frames.packet(packet(both, 1, kind=98), 1.0)
    first = b"\x62\x01" + bytes((0x80 | 19,)) + idr[2:20]
    last = b"\x62\x01" + bytes((0x40 | 19,)) + idr[20:]
    frames.packet(packet(first, 1, kind=98), 1.0)
    done = frames.packet(packet(last, 1, kind=98, marker=True), 1.0)
    assert done == [Unit(START + vps + START + idr, True, 1.0)]
    done = frames.packet(packet(b"\x02\x01t", 2, kind=98, marker=True), 2.0)
    assert done == [Unit(START + b"\x02\x01t", False, 2.0)]


def test_other_streams_are_ignored() -> None:
    frames = Depacketizer("H264", 96)
    assert frames.packet(packet(SLICE, 1, marker=True, kind=97), 1.0) == []
    assert frames.packet(b"\x80", 1.0) == []
    assert frames.dropped == 0


def test_extensions_and_padding_are_left_out() -> None:
    frames = Depacketizer("H264", 96)
    head = struct.pack("!BBHIII", 0xB1, 96 | 0x80, 1, 1, 7, 9)
    extended = head + struct.pack("!HHI", 0xBEDE, 1, 0) + SLICE + b"\0\0\3"
    assert frames.packet(extended, 1.0) == [Unit(START + SLICE, False, 1.0)]


def test_what_is_broken_is_dropped_and_counted() -> None:
    """A fragment without its beginning, an aggregate that ends early; the next frame is whole."""
    frames = Depacketizer("H264", 96)
    assert frames.packet(packet(fragments(IDR, 100)[1], 1, marker=True), 1.0) == []
    assert frames.packet(packet(b"\x18\x00\xff" + SPS, 2, marker=True), 2.0) == []
    assert frames.dropped == 2
    assert len(frames.packet(packet(SLICE, 3, marker=True), 3.0)) == 1


def test_a_frame_without_an_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is held than a frame may have."""
    monkeypatch.setattr(rtp, "MAX_FRAME_BYTES", 10_000)
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
    frames.packet(packet(SLICE, 1, marker=True), 1.0)
    assert frames.dropped == 1


@given(st.lists(st.binary(max_size=60), max_size=30), st.sampled_from(["H264", "H265"]))
def test_no_bytes_do_harm(payloads: list[bytes], codec: str) -> None:
    frames = Depacketizer(codec, 96)
    for number, payload in enumerate(payloads):
        frames.packet(packet(payload, number // 3, marker=number % 3 == 2), 1.0)
        frames.packet(payload, 1.0)

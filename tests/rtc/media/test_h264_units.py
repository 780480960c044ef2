"""Frames of H.264 before a decoder has them: each parameter set written again, everything bounded."""

from __future__ import annotations

import re
from contextlib import suppress

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rtc.media import payload
from server.rtc.media.decode import open_decoder
from server.rtc.media.h264_sps import BESIDE_REFERENCES, FormatRefused
from server.rtc.media.h264_units import (
    MACROBLOCK_BYTES,
    MAX_SETS,
    MAX_UNITS,
    PICTURE_SET_BYTES,
    H264Frames,
)
from tests.support.h264_streams import Sps, Stream, Vui, pps

DELAYED = Sps(order=0, vui=Vui(reorder=16))
DEEP = Sps(profile=110, depth=10, chroma_depth=10)


def decoded(frames: list[bytes]) -> int:
    """Pictures that come out, one frame in at a time."""
    decoder, checked = open_decoder("H264"), H264Frames()
    return sum(len(decoder.decode(av.Packet(checked.checked(frame)[0]))) for frame in frames)


def fu_a(unit: bytes) -> list[bytes]:
    """A NAL unit in three fragments (RFC 6184 section 5.8), as payloads."""
    header, body = unit[0], unit[1:]
    cut = len(body) // 3
    parts = [body[:cut], body[cut : 2 * cut], body[2 * cut :]]
    flags = [0x80, 0, 0x40]
    return [
        bytes([header & 0xE0 | 28, flag | header & 0x1F]) + part
        for flag, part in zip(flags, parts, strict=True)
    ]


def stap_a(units: list[bytes]) -> bytes:
    return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


def units_of(frame: bytes) -> list[bytes]:
    return [unit.rstrip(b"\0") for unit in frame.split(b"\0\0\1")[1:]]


@pytest.mark.parametrize("header", [0x07, 0x27, 0x47, 0x67, 0xE7])
def test_each_set_is_written_again(header: int) -> None:
    """First, second, in mid-stream, behind other units, whatever the other bits of its header: no 16 pictures are waited for."""
    stream, other = Stream(DELAYED), Stream(Sps())
    hidden = b"\0\0\1\x09\xf0" + other.sets() + DELAYED.unit(header) + pps()
    first = hidden + stream.key()
    checked, _ = H264Frames().checked(first)
    assert DELAYED.rbsp() in first
    assert DELAYED.rbsp() not in checked
    # libav takes no unit whose first bit is set.
    if not header & 0x80:
        assert decoded([first, stream.skipped(order=2), stream.skipped(order=4)]) == 3


def test_without_the_check_pictures_are_held() -> None:
    """So the streams of these tests are what they say."""
    stream, decoder = Stream(DELAYED), open_decoder("H264")
    frames = [stream.sets() + stream.key()] + [stream.skipped(order=2 * n) for n in range(1, 6)]
    assert sum(len(decoder.decode(av.Packet(frame))) for frame in frames) == 0


def test_every_way_on_the_wire() -> None:
    """Single units, an aggregate and fragments come to the same frame, and so does a start code within a fragment."""
    units = units_of(DELAYED.unit() + pps())
    ways = [
        units,
        [stap_a(units)],
        [*fu_a(units[0]), units[1]],
        [units[1], *fu_a(b"\x0c" + b"x" * 40 + b"\0\0\1" + units[0])],
    ]
    for payloads in ways:
        frame = b"".join(payload.parse("H264", one).data for one in payloads)
        assert units[0] in frame
        assert units[0] not in H264Frames().checked(frame)[0]
    deep = units_of(DEEP.unit())[0]
    for payloads in ([deep], [stap_a([units[1], deep])], fu_a(deep)):
        frame = b"".join(payload.parse("H264", one).data for one in payloads)
        with pytest.raises(FormatRefused):
            H264Frames().checked(frame)


def test_a_second_set_counts() -> None:
    """The largest of all so far, and each number of a picture parameter set; a frame without sets has no news."""
    frames = H264Frames()
    small, large = Sps(4, 4), Sps(40, 20, references=4, number=9)
    per_set = PICTURE_SET_BYTES
    each = 16 * (1 + BESIDE_REFERENCES) * MACROBLOCK_BYTES
    assert frames.checked(small.unit() + pps(0))[1] == each + per_set
    assert frames.checked(Stream(small).key())[1] == 0
    grown = 800 * (4 + BESIDE_REFERENCES) * MACROBLOCK_BYTES
    assert frames.checked(large.unit() + pps(5, 9) + pps(0))[1] == grown + 2 * per_set
    assert frames.checked(small.unit())[1] == grown + 2 * per_set
    assert [frames.checked(pps(number))[1] for number in range(256)][-1] == grown + 256 * per_set


def test_bounds_of_a_frame() -> None:
    """Eight sequence parameter sets and 600 units, and no more."""
    one = Sps().unit()
    H264Frames().checked(one * MAX_SETS)
    with pytest.raises(ValueError, match="more than 8"):
        H264Frames().checked(one * (MAX_SETS + 1))
    H264Frames().checked(b"\0\0\1\x0c" * MAX_UNITS)
    with pytest.raises(ValueError, match="more than 600"):
        H264Frames().checked(b"\0\0\1\x0c" * (MAX_UNITS + 1))


def test_everything_else_stays_as_it_is() -> None:
    """A frame without sets is the very same bytes; around a set nothing changes."""
    stream = Stream(Sps())
    key = stream.key()
    assert H264Frames().checked(key)[0] is key
    checked, _ = H264Frames().checked(b"\0\0\0\1\x09\xf0" + stream.sets() + key)
    units = units_of(checked)
    assert [unit[0] for unit in units] == [0x09, 0x67, 0x68, 0x65]
    assert units[2:] == units_of(pps() + key)


_UNITS = st.sampled_from([Sps().unit(), DELAYED.unit(), DEEP.unit(), pps(), b"\0\0\1", b"\0\0\3"])


@given(st.lists(_UNITS | st.binary(max_size=12), max_size=8).map(b"".join))
def test_any_bytes_are_taken_or_refused(data: bytes) -> None:
    """Nothing but ValueError comes out, and what is taken is taken again, with nothing left to write."""
    with suppress(ValueError):
        checked, kept = H264Frames().checked(data)
        assert H264Frames().checked(checked) == (checked, kept)
        assert len(re.findall(b"\0\0\1", checked)) == len(re.findall(b"\0\0\1", data))

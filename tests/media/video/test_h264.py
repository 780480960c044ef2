"""H.264 before a decoder has it: each parameter set written again, nothing to be put in order,
everything bounded.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.video import payload
from server.media.video.decode import (
    BESIDE_REFERENCES,
    MACROBLOCK_BYTES,
    MAX_KEPT_MACROBLOCKS,
    MAX_SETS,
    MAX_UNITS,
    PICTURE_SET_BYTES,
    FormatRefused,
    H264Frames,
    PicturesTooLarge,
    open_decoder,
    read_set,
)
from tests.support.h264_streams import Sps, Stream, Vui, pps, unit

DELAYED = Sps(order=0, vui=Vui(reorder=16))
DEEP = Sps(profile=110, depth=10, chroma_depth=10)


def first_frame(width: int, height: int, references: int, profile: str = "baseline") -> bytes:
    """Encode a grey picture with libx264."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base = Fraction(1, 30)
    encoder.profile = profile
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"ref={references}:level=6.2:threads=1",
    }
    grey = np.full((height * 3 // 2, width), 128, np.uint8)
    image = av.VideoFrame.from_ndarray(grey, format="yuv420p")
    image.pts = 0
    return b"".join(bytes(packet) for packet in encoder.encode(image))


def decoded(frames: list[bytes]) -> int:
    """Pictures that come out, one frame in at a time."""
    decoder, checked = open_decoder("H264"), H264Frames()
    return sum(len(decoder.decode(av.Packet(checked.check(frame)))) for frame in frames)


def plain_decoder() -> av.VideoCodecContext:
    """libav's decoder without the flag for low delay."""
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    return decoder


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


def sps_of(frame: bytes) -> bytes:
    at = frame.index(b"\0\0\1\x67") + 4
    return frame[at : frame.index(b"\0\0\1", at)]


def read(sps: Sps) -> int:
    return read_set(sps.unit()[5:]).kept


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
@pytest.mark.parametrize("references", [1, 4, 16])
def test_what_an_encoder_says_is_read(profile: str, references: int) -> None:
    """80×45 macroblocks of a 720p picture, its references and three more, in every profile."""
    found = read_set(sps_of(first_frame(1280, 720, references, profile)))
    assert found.kept == 80 * 45 * (references + BESIDE_REFERENCES)


def test_the_bound() -> None:
    """Two references of 3840×2160 may be kept, three may not; wide ones have no more pixels."""
    assert read_set(sps_of(first_frame(3840, 2160, 2))).kept == MAX_KEPT_MACROBLOCKS
    with pytest.raises(PicturesTooLarge, match=f"3840x2160.*{MAX_KEPT_MACROBLOCKS}"):
        read(Sps(240, 135, references=3))
    assert read(Sps(120, 68, references=16)) == 120 * 68 * 19
    for width, height in ((513, 4), (4, 514), (512, 130)):
        with pytest.raises(PicturesTooLarge, match=f"{16 * width}x{16 * height}"):
            read(Sps(width, height))
    assert read_set(Sps(256, 256).unit()[5:], 1 << 20).kept == 65_536 * (1 + BESIDE_REFERENCES)
    assert read(Sps(288, 108)) == 288 * 108 * (1 + BESIDE_REFERENCES)
    # Half of a picture's height is coded where it may have fields.
    with pytest.raises(PicturesTooLarge, match="64x8224"):
        read(Sps(4, 514, frames_only=False))
    assert read(Sps(4, 256, frames_only=False)) == 1024 * (1 + BESIDE_REFERENCES)


@pytest.mark.parametrize(
    "sps",
    [
        Sps(profile=110, depth=10, chroma_depth=10),
        Sps(profile=110),
        Sps(profile=122, chroma=2),
        Sps(profile=244, chroma=3),
        Sps(profile=244, chroma=3, planes=True),
        Sps(profile=244, lossless=True),
        Sps(profile=44, chroma=3, depth=14, chroma_depth=14),
        Sps(profile=144, chroma=3),
        Sps(profile=118),
        Sps(profile=128),
        Sps(profile=135),
        Sps(profile=0),
        Sps(profile=100, chroma=0),
        Sps(profile=100, chroma=2),
        Sps(profile=100, chroma=3),
        Sps(profile=100, depth=9),
        Sps(profile=100, chroma_depth=10),
        Sps(profile=100, lossless=True),
    ],
    ids=lambda sps: f"{sps.profile}-{sps.chroma}-{sps.depth}-{sps.chroma_depth}-{sps.lossless}",
)
def test_other_formats_are_refused(sps: Sps) -> None:
    """More bits, other chroma, planes of their own, without loss: in every profile with them."""
    with pytest.raises(FormatRefused):
        read(sps)


@pytest.mark.parametrize(
    "sps",
    [
        Sps(),
        Sps(profile=77, order=0, references=16),
        Sps(profile=88, order=1),
        Sps(order=0, gaps=True, number=31),
        Sps(profile=100, scaling=((-8,), None, (1,) * 16, None, None, None, None, (0,) * 64)),
        Sps(frames_only=False, crop=(0, 3, 0, 2)),
        Sps(vui=Vui(reorder=16, aspect=(4, 3), timing=True, hrd=True)),
        Sps(vui=Vui(reorder=16, buffering=16, full_range=False)),
        Sps(vui=Vui()),
    ],
)
def test_pictures_come_out_at_once(sps: Sps) -> None:
    """Whatever a set says, its pictures are as large as it says and none waits for another."""
    stream = Stream(sps)
    frames = [stream.sets() + stream.key(), stream.skipped(order=2), stream.skipped(order=4)]
    checked, decoder = H264Frames(), plain_decoder()
    left, right, top, bottom = sps.crop or (0, 0, 0, 0)
    height = 64 - (2 if sps.frames_only else 4) * (top + bottom)
    for frame in frames:
        images = decoder.decode(av.Packet(checked.check(frame)))
        assert [(image.width, image.height) for image in images] == [
            (64 - 2 * (left + right), height)
        ]
    assert not decoder.has_b_frames


def test_colours_stay() -> None:
    """Matrix and range are in the set that the decoder gets, whatever stands around them."""
    for vui, matrix, full in (
        (Vui(full_range=True, colors=(1, 1, 1)), 1, True),
        (Vui(full_range=False, colors=(5, 6, 5), aspect=(1, 1), reorder=2), 5, False),
        (Vui(full_range=True, timing=True), 2, True),
        (Vui(reorder=1), 2, None),
    ):
        stream = Stream(Sps(vui=vui))
        frame = H264Frames().check(stream.sets() + stream.key())
        (image,) = plain_decoder().decode(av.Packet(frame))
        assert image.colorspace == matrix
        assert image.color_range == {True: 2, False: 1, None: 0}[full]


def test_what_follows_a_set_is_left_out() -> None:
    """Rubbish behind it, and usability information that ends early: the same set is written."""
    clean = read_set(Sps().unit()[5:])
    assert read_set(Sps().unit()[5:] + b"\x83" * 500) == clean
    cut = Sps(vui=Vui(reorder=16, full_range=True)).unit()[5:]
    assert read_set(cut[:-4]).kept == clean.kept


def test_nothing_is_written_that_looks_like_a_start() -> None:
    """Emulation prevention stands where it has to: behind two zeros nothing below 4, but 3."""
    for width in range(1, 257):
        written = read_set(Sps(width, 256, level=0, references=0).unit()[5:], 1 << 20).written
        for low in range(3):
            assert b"\0\0" + bytes([low]) not in written
        assert read_set(written, 1 << 20).written == written


@pytest.mark.parametrize(
    "sps",
    [
        Sps(references=17),
        Sps(number=32),
        Sps(order=3),
        Sps(crop=(16, 16, 0, 0)),
        Sps(crop=(0, 0, 40, 0)),
    ],
)
def test_fields_out_of_range_are_refused(sps: Sps) -> None:
    """Data that a decoder would read differently never reaches it."""
    with pytest.raises(ValueError):
        read(sps)


@pytest.mark.parametrize("references", [1, 4])
def test_an_encoders_frame_is_counted_in_bytes(references: int) -> None:
    """The most that is kept, in bytes, is what the frame's check says."""
    frames = H264Frames()
    frames.check(first_frame(640, 480, references))
    assert 0 <= frames.kept - 1200 * (references + BESIDE_REFERENCES) * MACROBLOCK_BYTES <= 1 << 18


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ValueError comes out, and what is written reads the same."""
    for given_bytes in (data, replace(Sps(), profile=100).rbsp()[:4] + data):
        with suppress(ValueError):
            found = read_set(given_bytes)
            assert found.kept > 0
            assert read_set(found.written) == found


def test_units_are_built_as_they_should_be() -> None:
    """The writer of these tests protects start codes, too."""
    assert unit(0x67, b"\0\0\0\0\0\1") == b"\0\0\0\1\x67\0\0\3\0\0\3\0\1"
    assert pps().startswith(b"\0\0\0\1\x68")


# Frames


@pytest.mark.parametrize("header", [0x07, 0x27, 0x47, 0x67, 0xE7])
def test_each_set_is_written_again(header: int) -> None:
    """First, second, in mid-stream, behind other units: no 16 pictures are waited for."""
    stream, other = Stream(DELAYED), Stream(Sps())
    hidden = b"\0\0\1\x09\xf0" + other.sets() + DELAYED.unit(header) + pps()
    first = hidden + stream.key()
    checked = H264Frames().check(first)
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
    """Units, an aggregate and fragments make the same frame, also with a start code within."""
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
        assert units[0] not in H264Frames().check(frame)
    deep = units_of(DEEP.unit())[0]
    for payloads in ([deep], [stap_a([units[1], deep])], fu_a(deep)):
        frame = b"".join(payload.parse("H264", one).data for one in payloads)
        with pytest.raises(FormatRefused):
            H264Frames().check(frame)


@pytest.mark.parametrize(
    "frame",
    [
        pps(groups=2),
        pps(3, groups=8, kind=1),
        pps(groups=8, kind=6),
        *(b"\0\0\1" + bytes([0x60 | kind, 0x80]) for kind in (2, 3, 4)),
        b"".join(Stream(Sps()).slices([8, 0])),
    ],
    ids=["groups", "scattered", "map", "partition a", "partition b", "partition c", "order"],
)
def test_what_libav_does_not_read_is_refused(frame: bytes) -> None:
    """Slice groups, data partitions, a picture that begins with a later slice, among honest ones."""
    stream, frames = Stream(Sps()), H264Frames()
    with pytest.raises(FormatRefused):
        frames.check(stream.sets() + frame)
    frames.check(stream.sets() + stream.key())
    with pytest.raises(FormatRefused):
        frames.check(b"\0\0\1\x09\xf0" + frame)


def test_slices_behind_the_first_may_come_in_any_order() -> None:
    """libav puts them where they belong; so it does with two fields, which begin at macroblock 0."""
    stream = Stream(Sps())
    sets, units = stream.sets(), stream.slices([0, 12, 4, 8])
    assert decoded([sets + b"".join(units)]) == 1
    H264Frames().check(sets + units[0] + units[1] + units[0] + units[2])


def test_a_second_set_counts() -> None:
    """The largest of all so far, and each picture set's number, up to 64."""
    frames = H264Frames()
    small, large = Sps(4, 4), Sps(40, 20, references=4, number=9)

    def kept(data: bytes) -> int:
        frames.check(data)
        return frames.kept

    each = 16 * (1 + BESIDE_REFERENCES) * MACROBLOCK_BYTES
    assert kept(small.unit() + pps(0)) == each + PICTURE_SET_BYTES
    grown = 800 * (4 + BESIDE_REFERENCES) * MACROBLOCK_BYTES
    assert kept(large.unit() + pps(5, 9) + pps(0)) == grown + 2 * PICTURE_SET_BYTES
    assert kept(small.unit()) == grown + 2 * PICTURE_SET_BYTES
    assert [kept(pps(number)) for number in range(64)][-1] == grown + 64 * PICTURE_SET_BYTES
    with pytest.raises(ValueError, match="more than 64"):
        frames.check(pps(64))


def test_bounds_of_a_frame() -> None:
    """Eight sequence parameter sets and 600 units, and no more."""
    one = Sps().unit()
    H264Frames().check(one * MAX_SETS)
    with pytest.raises(ValueError, match="more than 8"):
        H264Frames().check(one * (MAX_SETS + 1))
    H264Frames().check(b"\0\0\1\x0c" * MAX_UNITS)
    with pytest.raises(ValueError, match="more than 600"):
        H264Frames().check(b"\0\0\1\x0c" * (MAX_UNITS + 1))


def test_everything_else_stays_as_it_is() -> None:
    """A frame without sets is the very same bytes; around a set nothing changes."""
    stream = Stream(Sps())
    key = stream.key()
    assert H264Frames().check(key) is key
    checked = H264Frames().check(b"\0\0\0\1\x09\xf0" + stream.sets() + key)
    units = units_of(checked)
    assert [unit[0] for unit in units] == [0x09, 0x67, 0x68, 0x65]
    assert units[2:] == units_of(pps() + key)


_UNITS = st.sampled_from([Sps().unit(), DELAYED.unit(), DEEP.unit(), pps(), b"\0\0\1", b"\0\0\3"])


@given(st.lists(_UNITS | st.binary(max_size=12), max_size=8).map(b"".join))
def test_any_frame_is_taken_or_refused(data: bytes) -> None:
    """Nothing but ValueError comes out, and what is taken is taken again, unchanged."""
    with suppress(ValueError):
        first, again = H264Frames(), H264Frames()
        checked = first.check(data)
        assert (again.check(checked), again.kept) == (checked, first.kept)
        assert len(re.findall(b"\0\0\1", checked)) == len(re.findall(b"\0\0\1", data))

"""Sequence parameter sets: what a stream would have kept is known before libav keeps it, and nothing is put in order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rtc.media.h264_sps import (
    BESIDE_REFERENCES,
    MAX_KEPT_MACROBLOCKS,
    FormatRefused,
    read_set,
)
from server.rtc.media.h264_units import MACROBLOCK_BYTES, H264Frames
from tests.support.h264_streams import Sps, Stream, Vui, pps, unit


def first_frame(width: int, height: int, references: int, profile: str = "baseline") -> bytes:
    """What libx264 makes of a grey picture."""
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


def sps_of(frame: bytes) -> bytes:
    at = frame.index(b"\0\0\1\x67") + 4
    return frame[at : frame.index(b"\0\0\1", at)]


def read(sps: Sps) -> int:
    return read_set(sps.unit()[5:]).kept


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
@pytest.mark.parametrize("references", [1, 4, 16])
def test_what_an_encoder_says_is_read(profile: str, references: int) -> None:
    """80×45 macroblocks of a 720p picture, so many references and three pictures beside, in every profile taken here."""
    found = read_set(sps_of(first_frame(1280, 720, references, profile)))
    assert found.picture == 80 * 45
    assert found.kept == 80 * 45 * (references + BESIDE_REFERENCES)


def test_the_bound() -> None:
    """Two references of 4096×4096 may be kept, three may not; no side is longer."""
    assert read_set(sps_of(first_frame(4096, 4096, 2))).kept == 5 * 65_536
    with pytest.raises(ValueError, match=str(MAX_KEPT_MACROBLOCKS)):
        read_set(sps_of(first_frame(4096, 4096, 4)))
    with pytest.raises(ValueError, match="at most"):
        read(Sps(256, 256, references=3))
    for width, height in ((257, 4), (4, 258)):
        with pytest.raises(ValueError, match="a side may have 4096"):
            read(Sps(width, height))
    # Half of a picture's height is said where it may have fields.
    with pytest.raises(ValueError, match="a side may have 4096"):
        read(Sps(4, 258, frames_only=False))
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
    """More bits, more or less chroma, planes of their own, without loss: in every profile that could have them."""
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
    checked = H264Frames()
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    left, right, top, bottom = sps.crop or (0, 0, 0, 0)
    height = 64 - (2 if sps.frames_only else 4) * (top + bottom)
    for frame in frames:
        images = decoder.decode(av.Packet(checked.checked(frame)[0]))
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
        decoder = av.CodecContext.create("h264", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        frame, _ = H264Frames().checked(stream.sets() + stream.key())
        (image,) = decoder.decode(av.Packet(frame)) or decoder.decode(None)
        assert image.colorspace == matrix
        assert image.color_range == {True: 2, False: 1, None: 0}[full]


def test_what_follows_a_set_is_left_out() -> None:
    """Rubbish behind it, and usability information that ends early: the same set is written."""
    clean = read_set(Sps().unit()[5:])
    assert read_set(Sps().unit()[5:] + b"\x83" * 500) == clean
    cut = Sps(vui=Vui(reorder=16, full_range=True)).unit()[5:]
    assert read_set(cut[:-4]).kept == clean.kept


def test_nothing_is_written_that_looks_like_a_start() -> None:
    """Emulation prevention stands where it has to: no set has two zeros and less than 4 behind them, but 3."""
    for width in range(1, 257):
        written = read_set(Sps(width, 256, level=0, references=0).unit()[5:]).written
        for low in range(3):
            assert b"\0\0" + bytes([low]) not in written
        assert read_set(written).written == written


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
    """What a decoder would read in another way never gets to it."""
    with pytest.raises(ValueError):
        read(sps)


@pytest.mark.parametrize("references", [1, 4])
def test_an_encoders_frame_is_counted_in_bytes(references: int) -> None:
    """The most that is kept, in bytes, is what the frame's check says."""
    _, kept = H264Frames().checked(first_frame(640, 480, references))
    assert 0 <= kept - 1200 * (references + BESIDE_REFERENCES) * MACROBLOCK_BYTES <= 1 << 18


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

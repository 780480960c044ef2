"""Sequence parameter sets: what a stream would have kept is known before libav keeps it."""

from __future__ import annotations

from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rtc.h264_sps import MAX_KEPT_MACROBLOCKS, MAX_SETS, check_frame, kept_macroblocks


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


@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
@pytest.mark.parametrize("references", [1, 4, 16])
def test_what_an_encoder_says_is_read(profile: str, references: int) -> None:
    """80×45 macroblocks of a 720p picture, so many references and the picture itself, in every profile taken here."""
    frame = first_frame(1280, 720, references, profile)
    assert kept_macroblocks(sps_of(frame)) == 80 * 45 * (references + 1)
    check_frame(frame)


def test_the_bound() -> None:
    """Two references of 4096×4096 may be kept, four may not."""
    check_frame(first_frame(4096, 4096, 2))
    with pytest.raises(ValueError, match=str(MAX_KEPT_MACROBLOCKS)):
        check_frame(first_frame(4096, 4096, 4))


def test_sets_hide_nowhere() -> None:
    """Behind other units, with other bits in their header, one of several: each is looked at; too many are refused."""
    big = first_frame(4096, 4096, 16)
    small = first_frame(64, 64, 1)
    for bits in (0x07, 0x27, 0x47, 0xE7):
        hidden = small + big.replace(b"\0\0\1\x67", b"\0\0\1" + bytes([bits]))
        with pytest.raises(ValueError, match="macroblocks"):
            check_frame(hidden)
    unit = b"\0\0\0\1\x67" + sps_of(small)
    check_frame(unit * MAX_SETS)
    with pytest.raises(ValueError, match="more than 8"):
        check_frame(unit * (MAX_SETS + 1))


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Nothing but ValueError comes out."""
    with suppress(ValueError):
        assert kept_macroblocks(data) > 0
    with suppress(ValueError):
        check_frame(b"\0\0\1\x67" + data)

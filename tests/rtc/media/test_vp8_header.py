"""VP8 frame headers: what a frame would have kept is known before libav keeps it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rtc.media.vp8_header import MACROBLOCK_BYTES, PICTURES, Vp8Frames, picture_macroblocks
from tests.support.fakes_media import vp8_frames
from tests.support.vp8_streams import frame


@pytest.mark.parametrize(("width", "height"), [(16, 16), (1280, 720), (1366, 768), (16383, 1)])
@pytest.mark.parametrize("scale", [0, 3])
def test_a_key_frame_says_its_size(width: int, height: int, scale: int) -> None:
    """Whole macroblocks; the bits that ask for a scale do not count."""
    data = bytearray(vp8_frames(1)[0])
    data[6:8] = (width | scale << 14).to_bytes(2, "little")
    data[8:10] = (height | scale << 14).to_bytes(2, "little")
    assert picture_macroblocks(bytes(data)) == -(-width // 16) * -(-height // 16)


def test_deltas_say_nothing() -> None:
    """Nor does what ends before its size, or has no start code."""
    key, delta = vp8_frames(2)
    assert (
        picture_macroblocks(delta) == picture_macroblocks(key[:9]) == picture_macroblocks(b"") == 0
    )
    assert Vp8Frames().checked(delta) == (delta, 0)
    assert picture_macroblocks(key[:3] + b"\0\0\0" + key[6:]) == 0


def test_six_pictures_are_counted() -> None:
    """Of the largest that may be, too; one row more is refused."""
    size = MACROBLOCK_BYTES * PICTURES
    for width, height in ((640, 360), (4096, 4096)):
        key = frame((width, height), zeros=20)
        assert Vp8Frames().checked(key) == (key, size * (width // 16) * -(-height // 16))
    with pytest.raises(ValueError, match="65536 are allowed"):
        Vp8Frames().checked(frame((4096, 4097), zeros=20))


@given(st.binary(max_size=20))
def test_any_bytes_are_survived(data: bytes) -> None:
    """No exception, and nothing negative."""
    assert 0 <= picture_macroblocks(data) <= 1024 * 1024
    with suppress(ValueError):
        assert Vp8Frames().checked(data)[0] == data

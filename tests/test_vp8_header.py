"""VP8 frame headers: what a frame would have kept is known before libav keeps it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.rtc.vp8_header import PICTURES, kept_macroblocks
from tests.fakes_media import vp8_frames


@pytest.mark.parametrize(("width", "height"), [(16, 16), (1280, 720), (1366, 768), (16383, 1)])
@pytest.mark.parametrize("scale", [0, 3])
def test_a_key_frame_says_its_size(width: int, height: int, scale: int) -> None:
    """Whole macroblocks, four pictures of them; the bits that ask for a scale do not count."""
    data = bytearray(vp8_frames(1)[0])
    data[6:8] = (width | scale << 14).to_bytes(2, "little")
    data[8:10] = (height | scale << 14).to_bytes(2, "little")
    assert kept_macroblocks(bytes(data)) == PICTURES * -(-width // 16) * -(-height // 16)


def test_deltas_say_nothing() -> None:
    """Nor does what ends before its size, or has no start code."""
    key, delta = vp8_frames(2)
    assert kept_macroblocks(delta) == kept_macroblocks(key[:9]) == kept_macroblocks(b"") == 0
    assert kept_macroblocks(key[:3] + b"\0\0\0" + key[6:]) == 0


@given(st.binary(max_size=20))
def test_any_bytes_are_survived(data: bytes) -> None:
    """No exception, and nothing negative."""
    assert 0 <= kept_macroblocks(data) <= PICTURES * 1024 * 1024

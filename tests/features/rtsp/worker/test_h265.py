"""H.265 is decoded as 4:2:0 of 8 bits within a size; all else is refused before libav sees it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.features.rtsp.worker.pictures import MAX_UNITS, check_h265, check_set
from server.media.video.h264 import FormatRefused, TooLarge
from tests.features.rtsp.worker.streams import encoded


def sets(data: bytes) -> list[bytes]:
    """The sequence parameter sets of a frame, without NAL headers."""
    units = data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")
    return [unit[2:] for unit in units if unit and unit[0] >> 1 & 63 == 33]


def test_a_good_stream_is_taken() -> None:
    for data in encoded("H265", 3):
        check_h265(data)
    (one,) = sets(encoded("H265", 3)[0])
    assert check_set(one) == (64, 48)


@pytest.mark.parametrize("format", ["yuv444p", "yuv422p", "yuv420p10le"])
def test_other_formats_are_refused(format: str) -> None:
    with pytest.raises(FormatRefused):
        check_h265(encoded("H265", 1, format=format)[0])


class Writer:
    def __init__(self) -> None:
        self.text = ""

    def bits(self, value: int, count: int) -> None:
        self.text += f"{value:0{count}b}"

    def ue(self, value: int) -> None:
        code = f"{value + 1:b}"
        self.text += "0" * (len(code) - 1) + code

    def bytes(self) -> bytes:
        text = self.text + "1"
        text += "0" * (-len(text) % 8)
        raw = int(text, 2).to_bytes(len(text) // 8, "big")
        return raw.replace(b"\0\0\0", b"\0\0\3\0")


def a_set(width: int, height: int, *, layers: int = 0) -> bytes:
    out = Writer()
    out.bits(0, 4)
    out.bits(layers, 3)
    out.bits(1, 1)
    # A general profile, whose bits do not matter, and a level
    for _ in range(12):
        out.bits(0xA5, 8)
    if layers:
        for number in range(8):
            out.bits(3 if number < layers else 0, 2)
        for _ in range(layers * 12):
            out.bits(0x5A, 8)
    for value in (0, 1, width, height):
        out.ue(value)
    out.bits(0, 1)
    out.ue(0)
    out.ue(0)
    return out.bytes()


def test_sizes() -> None:
    assert check_set(a_set(3840, 2160)) == (3840, 2160)
    assert check_set(a_set(4096, 4096, layers=3)) == (4096, 4096)
    for width, height in ((4104, 16), (16, 1 << 20), (0, 16)):
        with pytest.raises(TooLarge):
            check_set(a_set(width, height))
    with pytest.raises(ValueError):
        check_set(b"\x0f" + bytes(40))


def test_units_are_bounded() -> None:
    with pytest.raises(ValueError):
        check_h265(b"\0\0\1\x02\x01" * (MAX_UNITS + 1))


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(data: bytes) -> None:
    for text in (data, b"\0\0\1\x42\x01" + data):
        with contextlib.suppress(ValueError):
            check_h265(text)

"""The memory of decoders: counted before they take it, shared among cameras, and measured under
hostile streams.
"""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.video import h264
from server.media.video.decode import (
    DECODER_BYTES,
    OWN_BYTES,
    SHARED_BYTES,
    VP8_MACROBLOCK_BYTES,
    VP8_PICTURES,
    PictureMemory,
    Vp8Frames,
    picture_macroblocks,
)
from server.media.video.h264 import TooLarge
from tests.support.decoder_memory import SCENARIOS
from tests.support.fakes_media import vp8_frames
from tests.support.vp8_streams import frame

MOST = h264.MAX_KEPT_MACROBLOCKS * h264.MACROBLOCK_BYTES + DECODER_BYTES

# Uncounted memory that libav may hold for a decoder without any frame.
SLACK_MIB = 6.0


@functools.cache
def measured(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.decoder_memory", name],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        timeout=120,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    print(name, result)
    return result


# A process each, for a second or more; these stand for the others in everyday work.
QUICK = ("deep", "second", "wild", "vp8_largest")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in SCENARIOS],
)
def test_no_more_is_held_than_is_counted(name: str) -> None:
    """Resident memory at its peak, the pictures that cameras hold included."""
    found = measured(name)
    assert found["peak"] - found["before"] < found["counted"] + SLACK_MIB


def test_other_formats_never_reach_a_decoder() -> None:
    """Four cameras of 4:4:4 with 14 bits, 26 KB each, held 2,660 MiB once: all are refused."""
    found = measured("deep")
    assert found["refused"] == 4
    assert "shown" not in found
    assert found["peak"] - found["before"] < SLACK_MIB


@pytest.mark.parametrize("name", ["groups", "partitions", "out_of_order"])
def test_what_libav_does_not_read_is_refused(name: str) -> None:
    """Slice groups, data partitions, later slices first: only the honest first pictures are shown."""
    found = measured(name)
    assert found["shown"] == 4
    assert found["refused"] >= 160
    assert found["peak"] - found["before"] < 110


@pytest.mark.parametrize(("name", "most"), [("reorder", 150), ("silent", 220), ("second", 150)])
def test_nothing_is_held_to_be_put_in_order(name: str, most: int) -> None:
    """The set states the number, or nothing, or a second set does: four cameras once held 830 MiB."""
    found = measured(name)
    assert found["peak"] - found["before"] < most
    assert found["shown"] >= 64


def test_half_a_million_units_are_refused() -> None:
    """A frame of 2 MB held 2,030 MiB until its decoder was closed."""
    found = measured("tiny")
    assert found["error"] == 1
    assert found["peak"] - found["before"] < 15


# VP8 headers


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
    size = VP8_MACROBLOCK_BYTES * VP8_PICTURES
    for width, height in ((640, 360), (4096, 4096)):
        key = frame((width, height), zeros=20)
        assert Vp8Frames().checked(key) == (key, size * (width // 16) * -(-height // 16))
    with pytest.raises(TooLarge, match="65536 are allowed"):
        Vp8Frames().checked(frame((4096, 4097), zeros=20))


@given(st.binary(max_size=20))
def test_any_bytes_are_survived(data: bytes) -> None:
    assert 0 <= picture_macroblocks(data) <= 1024 * 1024
    with suppress(ValueError):
        assert Vp8Frames().checked(data)[0] == data


# Shared memory


def test_what_each_camera_has_of_its_own_costs_nothing() -> None:
    """A thousand cameras of 1920×1080 get in and take nothing of the shared part, empty or not."""
    memory = PictureMemory(shared=0)
    vp8 = VP8_PICTURES * VP8_MACROBLOCK_BYTES
    avc = (4 + h264.BESIDE_REFERENCES) * h264.MACROBLOCK_BYTES
    sets = 25 * h264.PICTURE_SET_BYTES
    for codec, each, more in (("VP8", vp8, 0), ("H264", avc, sets)):
        size = 120 * 68 * each + DECODER_BYTES + more
        assert all(memory.take((codec, number), size) for number in range(500))
    assert not memory.take("large", OWN_BYTES + 1)


def test_the_shared_part_is_never_exceeded() -> None:
    """Of the largest H.264 streams as many get in as fit; the next is refused until one leaves."""
    memory = PictureMemory()
    each = MOST - OWN_BYTES
    got_in = [memory.take(number, MOST) for number in range(20)]
    assert got_in.count(True) == SHARED_BYTES // each == 3
    assert got_in == sorted(got_in, reverse=True)
    assert memory.free == SHARED_BYTES - 3 * each
    memory.give_back(0)
    memory.give_back(0)
    assert memory.take("next", MOST)
    assert not memory.take("after", MOST)


def test_the_most_counts_until_it_is_given_back() -> None:
    """A stream that changes its size has what its largest needed, once; a refusal takes nothing."""
    memory = PictureMemory(own=10, shared=100)
    assert [memory.take("a", size) for size in (60, 0, 60, 20, 80)] == [True] * 5
    assert memory.free == 30
    assert not memory.take("a", 120)
    assert not memory.take("b", 50)
    assert memory.free == 30
    memory.give_back("a")
    assert memory.free == 100


def test_threads_share_it() -> None:
    """Takers and givers on four threads leave nothing behind."""
    memory = PictureMemory(own=0, shared=50)

    def churn(name: int) -> None:
        for _ in range(2000):
            if memory.take(name, 20):
                memory.give_back(name)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(churn, range(4)))
    assert memory.free == 50

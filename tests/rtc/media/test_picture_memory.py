"""The memory that large pictures share: who gets in, who is refused, what comes back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from server.rtc.media import h264_units, vp8_header
from server.rtc.media.decode import DECODER_BYTES
from server.rtc.media.h264_sps import BESIDE_REFERENCES, MAX_KEPT_MACROBLOCKS
from server.rtc.media.picture_memory import OWN_BYTES, SHARED_BYTES, PictureMemory

MOST = MAX_KEPT_MACROBLOCKS * h264_units.MACROBLOCK_BYTES + DECODER_BYTES


def test_what_each_camera_has_of_its_own_costs_nothing() -> None:
    """A thousand cameras of 1920×1080 get in and take nothing of the shared part, also when it is empty."""
    memory = PictureMemory(shared=0)
    vp8 = vp8_header.PICTURES * vp8_header.MACROBLOCK_BYTES
    h264 = (4 + BESIDE_REFERENCES) * h264_units.MACROBLOCK_BYTES
    sets = 25 * h264_units.PICTURE_SET_BYTES
    for codec, each, more in (("VP8", vp8, 0), ("H264", h264, sets)):
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

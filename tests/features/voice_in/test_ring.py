"""The ring gives back what it got, by time, and never more than its length."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.sound import SOUND_RATE, Sound
from server.features.voice_in.spoken_questions import SoundRing


def count(since: int, length: int, at: float) -> Sound:
    """Samples that count up, so that each says where it stood."""
    return Sound((np.arange(since, since + length) % 30_000).astype(np.int16), at)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=40),
    begin=st.floats(-0.5, 3),
    length=st.floats(0.001, 3),
)
def test_a_slice_is_what_was_heard_then(sizes: list[int], begin: float, length: float) -> None:
    """Pieces of any size: the newest second, sample for sample."""
    ring, at = SoundRing(1.0), 0
    for size in sizes:
        ring.add(count(at, size, 100 + at / SOUND_RATE))
        at += size
    assert ring.seconds == min(at, SOUND_RATE) / SOUND_RATE
    assert ring.end == pytest.approx(100 + at / SOUND_RATE)
    got = ring.slice(100 + begin, 100 + begin + length)
    first = max(0, at - SOUND_RATE)
    low, high = max(first, round(begin * SOUND_RATE)), min(at, round((begin + length) * SOUND_RATE))
    if low >= high:
        assert got is None or len(got.samples) <= 1
        return
    assert got is not None
    assert abs(len(got.samples) - (high - low)) <= 1
    number = round((got.captured - 100) * SOUND_RATE)
    assert (got.samples == count(number, len(got.samples), 0).samples).all()


def test_a_gap_is_silence() -> None:
    """A lost second stands there as zeros, so that the times after it are right."""
    ring = SoundRing(5)
    ring.add(count(1, SOUND_RATE, 10))
    ring.add(count(1, SOUND_RATE, 12))
    assert ring.seconds == pytest.approx(3)
    between = ring.slice(11, 12)
    assert between is not None
    assert not between.samples.any()


def test_small_differences_of_the_clock_are_no_gap() -> None:
    """The estimate of the time moves by milliseconds; the samples follow each other."""
    ring = SoundRing(5)
    for number in range(50):
        ring.add(count(number * 320, 320, 10 + number * 0.02 + (number % 3) * 0.004))
    whole = ring.slice(0, 100)
    assert whole is not None
    assert (whole.samples == count(0, 16_000, 0).samples).all()


@pytest.mark.parametrize("later", [-3.0, 60.0])
def test_another_stretch_of_sound_begins_anew(later: float) -> None:
    """A step back, or a gap that is longer than the ring."""
    ring = SoundRing(5)
    ring.add(count(1, SOUND_RATE, 100))
    ring.add(count(1, SOUND_RATE, 101 + later))
    assert ring.seconds == 1


def test_memory_is_bounded_and_given_back() -> None:
    """32 kB a second, once there is sound; nothing after `clear`."""
    ring = SoundRing(30)
    assert ring.bytes == 0
    for number in range(60):
        ring.add(count(0, SOUND_RATE, number))
    assert ring.bytes == 30 * 32_000
    ring.add(Sound(np.zeros(0, np.int16), 60))
    ring.add(count(0, 40 * SOUND_RATE, 60))
    assert ring.bytes == 30 * 32_000
    assert ring.seconds == 30
    ring.clear()
    assert ring.bytes == 0
    assert ring.slice(0, 1000) is None


def test_a_slice_is_a_copy() -> None:
    """A slice that was handed out does not change when the ring goes on."""
    ring = SoundRing(1)
    ring.add(count(0, SOUND_RATE, 0))
    got = ring.slice(0, 1)
    ring.add(count(5, SOUND_RATE, 1))
    assert got is not None
    assert (got.samples == count(0, SOUND_RATE, 0).samples).all()

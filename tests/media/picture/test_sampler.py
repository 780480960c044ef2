"""Frames are taken at the rate: no drift, no bursts, none lost to jitter."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.media.camera import Sampler


def taken(sampler: Sampler, times: list[float]) -> list[float]:
    return [time for time in times if sampler.take(time)]


@pytest.mark.parametrize("rate", [0.1, 0.5, 2.0, 5.0, 7.0, 25.0, 30.0])
def test_fast_camera_is_sampled_at_exactly_the_rate(rate: float) -> None:
    """A 30/s camera gives rate times seconds frames over ten minutes."""
    times = [n / 30 for n in range(30 * 600)]
    assert len(taken(Sampler(rate), times)) == pytest.approx(rate * 600, abs=1)


@pytest.mark.parametrize("fps", [0.3, 1.0, 1.9, 2.0])
def test_slow_camera_gets_every_frame_taken(fps: float) -> None:
    """A camera at or below the rate loses nothing."""
    times = [n / fps for n in range(400)]
    assert taken(Sampler(2.0), times) == times


@pytest.mark.parametrize("fps", [2.0, 5.0, 30.0])
def test_jitter_does_not_skip(fps: float) -> None:
    """A camera exactly at the rate, each frame a tenth of a period early or late, loses nothing."""
    dice = random.Random(3)
    times = [(n + dice.uniform(-0.1, 0.1)) / fps for n in range(1_000)]
    assert taken(Sampler(fps), times) == times


@given(rate=st.floats(0.1, 30), gaps=st.lists(st.floats(0.001, 3.0), min_size=1, max_size=300))
def test_never_a_burst(rate: float, gaps: list[float]) -> None:
    """Whatever the camera does, frames are half a period apart and never more than the rate over
    time.
    """
    times, now = [], 0.0
    for gap in gaps:
        times.append(now)
        now += gap
    kept = taken(Sampler(rate), times)
    assert all(b - a >= 0.499 / rate for a, b in pairwise(kept))
    assert len(kept) <= times[-1] * rate + 2


def test_waking_camera_gives_no_extra_frames() -> None:
    """A camera that goes from 2/s to 30/s and back is sampled at 2/s throughout."""
    times = [n * 0.5 for n in range(20)]
    times += [10 + n / 30 for n in range(300)]
    times += [20 + n * 0.5 for n in range(20)]
    assert len(taken(Sampler(2.0), times)) == pytest.approx(60, abs=1)


def test_pause_is_not_caught_up() -> None:
    """After a pause one frame is taken and the grid starts there."""
    sampler = Sampler(2.0)
    assert sampler.take(0.0)
    assert sampler.take(60.0)
    assert not sampler.take(60.03)
    assert not sampler.take(60.3)
    assert sampler.take(60.5)


def test_new_clock_starts_anew() -> None:
    """Capture times that jump back, as a new stream's do, are taken at once."""
    sampler = Sampler(2.0)
    assert sampler.take(100.0)
    assert not sampler.take(99.9)
    assert sampler.take(3.0)
    assert not sampler.take(3.1)
    assert sampler.take(3.5)


def test_rate_changes_at_once() -> None:
    """A faster rate counts from the last frame taken."""
    sampler = Sampler(0.5)
    assert sampler.take(0.0)
    assert not sampler.take(0.4)
    sampler.set_rate(5.0)
    assert sampler.take(0.41)
    sampler.set_rate(1.0)
    assert not sampler.take(0.9)
    assert sampler.take(1.41)


@pytest.mark.parametrize("rate", [0.09, 30.1, 0.0, -1.0, float("nan"), float("inf")])
def test_rate_outside_the_bounds_is_refused(rate: float) -> None:
    """The sentence names what was given and what is allowed."""
    with pytest.raises(ValueError, match=r"0\.1 to 30"):
        Sampler(rate)
    with pytest.raises(ValueError, match=r"0\.1 to 30"):
        Sampler(1.0).set_rate(rate)

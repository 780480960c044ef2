"""A silent camera is asked for key frames after a while, regularly, and for a limited time."""

from __future__ import annotations

import itertools
import math

import pytest

from server.media.video.camera_state import AFTER_S, EVERY_S, UNTIL_S, Silence


def asked(silence: Silence, until: float) -> list[float]:
    """The times at which it asks when its owner comes exactly when it says."""
    times = []
    while (due := silence.deadline()) <= until:
        assert silence.ask(due)
        times.append(due)
    return times


def test_before_the_first_packet_nothing_is_asked_for() -> None:
    """Whoever has not begun has nothing to come back to."""
    silence = Silence()
    assert silence.deadline() == math.inf
    assert not silence.ask(1e9)


@pytest.mark.parametrize("period", [1.0, 0.5, 0.033])
def test_an_idle_camera_is_left_alone(period: float) -> None:
    """One frame a second, half of them a third late: never asked."""
    silence = Silence()
    for number in range(200):
        now = number * period + (period / 3 if number % 2 else 0)
        assert asked(silence, now) == []
        silence.heard(now)


def test_a_silent_one_is_asked_regularly_and_not_for_ever() -> None:
    """From 1.8 s on, five times a second, for half a minute; then no more until it is heard of
    again.
    """
    silence = Silence()
    silence.heard(10.0)
    times = asked(silence, 1000.0)
    assert times[0] == 10.0 + AFTER_S
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx(
        [EVERY_S] * (len(times) - 1)
    )
    assert 10.0 + UNTIL_S - 2 * EVERY_S < times[-1] <= 10.0 + UNTIL_S
    assert silence.asks == len(times)
    silence.heard(100.0)
    assert silence.asks == 0
    assert asked(silence, 102.2) == pytest.approx([101.8, 102.0, 102.2])


def test_a_late_owner_asks_once() -> None:
    """Whatever it missed meanwhile is not made up for."""
    silence = Silence()
    silence.heard(0.0)
    assert silence.ask(5.0)
    assert not silence.ask(5.0)
    assert silence.deadline() == 5.0 + EVERY_S

"""Usual times, learned from the times themselves."""

from __future__ import annotations

import random

from server.models.scheduler.fairness import UsualTimes


def test_the_first_time_of_a_kind_is_usual() -> None:
    usual = UsualTimes()
    assert usual.ratio("low", 0.2) == 1.0
    assert 2.0 <= usual.ratio("low", 0.4) < 2.1
    assert usual.ratio("high", 0.4) == 1.0


def test_it_follows_the_quantile() -> None:
    """A low one stays with the quick ones, where the median follows most."""
    low, middle = UsualTimes(0.1), UsualTimes()
    rng = random.Random(4)
    for _ in range(3000):
        seconds = 0.1 if rng.random() < 0.3 else 1.0
        low.ratio("a", seconds)
        middle.ratio("a", seconds)
    assert low.ratio("a", 1.0) > 6
    assert middle.ratio("a", 1.0) < 1.5


def test_kinds_are_bounded() -> None:
    usual = UsualTimes()
    for kind in range(1000):
        usual.ratio(kind, 0.1)
    assert len(usual) <= 64


def test_a_time_of_nothing_divides_by_nothing() -> None:
    usual = UsualTimes()
    assert usual.ratio("a", 0.0) == 0.0
    assert usual.ratio("a", 0.1) > 1

"""The smallest value of the last seconds."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from server.media.path_rate import WindowMinimum


@given(st.lists(st.tuples(st.floats(0, 3), st.floats(-1e6, 1e6)), min_size=1, max_size=60))
def test_it_is_the_minimum_of_the_window(steps: list[tuple[float, float]]) -> None:
    """Of whole seconds, as a list of everything would give it, in no more numbers than seconds."""
    minimum = WindowMinimum(4)
    seen: list[tuple[int, float]] = []
    now = 0.0
    for step, value in steps:
        now += step
        seen.append((math.floor(now), value))
        expected = min(v for second, v in seen if second > math.floor(now) - 4)
        assert minimum.add(now, value) == minimum.value == expected
        assert len(minimum._minima) <= 4


def test_cleared_it_knows_nothing() -> None:
    """Only later values count."""
    minimum = WindowMinimum(12)
    assert minimum.value == math.inf
    minimum.add(1.0, -5.0)
    minimum.clear()
    assert minimum.value == math.inf
    assert minimum.add(1.5, 3.0) == 3.0

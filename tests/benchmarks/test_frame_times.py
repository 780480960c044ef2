from __future__ import annotations

import pytest

from benchmarks.network_figures import FrameTimes


async def test_gaps_count_from_the_first_moment_to_the_last() -> None:
    """A picture that never comes, or comes no more, is a gap too; what came outside does not count."""
    frames = FrameTimes("http://unused")
    assert frames.longest_gap(10.0, 14.0) == 4.0
    frames.at = [9.0, 10.5, 11.0, 13.5, 20.0]
    assert frames.longest_gap(10.0, 14.0) == 2.5
    assert frames.longest_gap(10.0, 19.0) == 5.5
    assert await frames.next(10.6, 1.0) == pytest.approx(0.4)
    assert await frames.next(21.0, 0.05) is None

"""The memory of the recent past holds events and finds them: `benchmarks.recall` in shorter runs."""

from __future__ import annotations

import pytest

from benchmarks.recall import Result, run


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "found_by_time"), [("still", 0.9), ("noisy", 0.9), ("busy", 0.8)])
def test_events_are_held_and_found(kind: str, found_by_time: float) -> None:
    """Of 3 s each, one each 30 s; with its time a question finds them at any age."""
    result = Result()
    run(kind, 380, 3, result)
    counts = result.by_age.values()
    events = sum(found.events for found in counts)
    assert events >= 25
    assert sum(found.held for found in counts) >= 0.95 * events
    assert sum(found.timed for found in counts) >= found_by_time * events
    recent = [result.by_age[age] for age in (30, 60)]
    assert sum(found.events for found in recent) >= 5
    assert sum(found.sent for found in recent) >= 0.80 * sum(found.events for found in recent)

"""A share that grows by addition and halves."""

from __future__ import annotations

import pytest

from server.models.scheduler.fairness import Aimd


def test_it_begins_at_its_most_and_stays_in_its_bounds() -> None:
    share = Aimd(1.0, 8.0, idle_gain=0.5)
    assert share.value(0.0) == 8.0
    share.grow(1.0, 0.0)
    assert share.value(0.0) == 8.0
    for second in range(9):
        assert share.halve(float(second), pause=0.0)
    assert share.value(9.0) == 1.0


def test_it_halves_once_within_the_pause() -> None:
    share = Aimd(1.0, 8.0, idle_gain=0.5)
    assert share.halve(0.0, pause=1.0)
    assert not share.halve(0.9, pause=1.0)
    assert share.value(0.9) == 4.0
    assert share.halve(1.0, pause=1.0)


def test_it_grows_by_itself_ten_seconds_after_the_last_event() -> None:
    share = Aimd(1.0, 8.0, idle_gain=0.5)
    share.halve(0.0, pause=0.0)
    share.grow(0.25, 5.0)
    assert share.value(15.0) == 4.25
    assert share.value(17.0) == pytest.approx(5.25)
    share.grow(0.25, 17.0)
    assert share.value(27.0) == pytest.approx(5.5)

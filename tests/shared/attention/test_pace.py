"""The times at which background work may ask."""

from __future__ import annotations

from itertools import pairwise

import pytest

from server.shared.attention.attention import HEARTBEAT_SECONDS, LONGEST_PAUSE, Pace
from server.shared.attention.gate import WHOLE, Change, Region, Why

LEFT = Region(0.0, 0.2, 0.3, 0.6)
RIGHT = Region(0.7, 0.2, 0.9, 0.6)


def change(region: Region | None = LEFT, *, busy: float = 0.0) -> Change:
    return Change(Why.OBJECT if region else Why.SAME, 1.0, region, busy)


def asked_at(pace: Pace, seen: Change, seconds: float, *, same: bool) -> list[float]:
    """Return the times at which it asks about a change that stays, at two looks a second."""
    times = []
    for half in range(round(seconds * 2)):
        now = half / 2
        if pace.due(seen, now):
            pace.asked(seen, now)
            pace.answered(now, same=same)
            times.append(now)
    return times


def test_pauses_grow_while_answers_stay_the_same() -> None:
    """1, 2, 4 ... 30 s, and on at that."""
    times = asked_at(Pace(), change(), 130, same=True)
    pauses = [late - early for early, late in pairwise(times)]
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_a_new_answer_ends_the_pauses() -> None:
    """After an answer that says something new it asks at once, and the pauses begin anew."""
    pace = Pace()
    asked_at(pace, change(), 30, same=True)
    pace.answered(40, same=False)
    assert pace.due(change(), 40)
    pace.answered(41, same=True)
    assert not pace.due(change(), 41.5)
    assert pace.due(change(), 42)


def test_a_scene_that_has_calmed_down_begins_anew() -> None:
    """Four seconds without a change end the pause, three do not."""
    pace = Pace()
    asked_at(pace, change(), 40, same=True)
    for now in (40.0, 41.0, 42.0, 43.0):
        assert not pace.due(change(None), now)
    assert not pace.due(change(), 43.5)
    for now in (44.0, 46.0, 48.0):
        assert not pace.due(change(None), now)
    assert pace.due(change(), 48.5)


def test_elsewhere_does_not_wait() -> None:
    """A pause holds for the places where answers stayed the same."""
    pace = Pace()
    asked_at(pace, change(LEFT), 25, same=True)
    assert not pace.due(change(LEFT), 26)
    assert pace.due(change(RIGHT), 26)
    pace.asked(change(RIGHT), 26)
    pace.answered(26, same=True)
    assert not pace.due(change(RIGHT), 27)
    assert not pace.due(change(LEFT), 27)


def test_no_change_asks_nothing() -> None:
    """However long."""
    assert asked_at(Pace(), change(None), 300, same=True) == []


def test_heartbeat_where_much_moves() -> None:
    """Once a minute, of a busy scene that the gate sees less of."""
    times = asked_at(Pace(), change(None, busy=0.02), 300, same=True)
    assert times == [0, 60, 120, 180, 240]
    assert HEARTBEAT_SECONDS == 60


def test_the_end_of_a_pause_is_no_reason_to_ask() -> None:
    """Once a minute stays once a minute; a change is asked about at once."""
    pace = Pace()
    seen = change(None, busy=0.02)
    assert pace.due(seen, 0)
    pace.asked(seen, 0)
    pace.answered(0.1, same=True)
    pace.retry()
    assert not pace.due(seen, 1)
    assert pace.due(change(), 1)


@pytest.mark.parametrize("same", [True, False])
def test_whole_pictures_wait_too(same: bool) -> None:
    """Another scene lies nowhere else."""
    pace = Pace()
    pace.asked(change(WHOLE), 0)
    pace.answered(0, same=same)
    assert pace.due(change(WHOLE), 0.5) is not same


def test_a_stronger_change_or_one_of_another_kind_does_not_wait() -> None:
    """Within a region where much moves; a little stronger than before is no news."""
    pace = Pace()
    seen = change()
    pace.asked(seen, 0.0)
    pace.answered(0.0, same=True)
    assert not pace.due(seen, 0.5)
    assert not pace.due(Change(Why.OBJECT, 1.4, LEFT, 0.0), 0.5)
    stronger, other = Change(Why.OBJECT, 1.6, LEFT, 0.0), Change(Why.COLOR, 1.0, LEFT, 0.0)
    assert pace.due(stronger, 0.5)
    assert pace.due(other, 0.5)
    for one in (stronger, other):
        pace.asked(one, 0.5)
        pace.answered(0.5, same=True)
    assert not pace.due(stronger, 0.6)
    assert not pace.due(other, 0.6)

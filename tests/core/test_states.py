"""States that change by listed steps only."""

from __future__ import annotations

from enum import StrEnum

import pytest

from server.core.aio import Steps


class Door(StrEnum):
    OPEN = "open"
    SHUT = "shut"
    GONE = "gone"


STEPS = {Door.OPEN: (Door.SHUT,), Door.SHUT: (Door.OPEN, Door.GONE)}


def test_listed_steps_are_taken() -> None:
    """There and back, and to the end."""
    door = Steps(Door.OPEN, STEPS)
    for state in (Door.SHUT, Door.OPEN, Door.SHUT, Door.GONE):
        door.to(state)
        assert door.now is state


@pytest.mark.parametrize(
    ("start", "wrong"),
    [
        (Door.OPEN, Door.GONE),
        (Door.OPEN, Door.OPEN),
        (Door.GONE, Door.OPEN),
        (Door.GONE, Door.GONE),
    ],
)
def test_any_other_step_is_a_bug(start: Door, wrong: Door) -> None:
    """It raises, names both, and changes nothing."""
    door = Steps(start, STEPS)
    with pytest.raises(RuntimeError, match=f"Door: {start} cannot become {wrong}"):
        door.to(wrong)
    assert door.now is start

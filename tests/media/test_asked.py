"""A question is answered by a frame that was captured after it was sent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from server.media.camera import QuestionTime
from tests.support.rooms import make_frame

WALL = 1.7e9
FRAME = make_frame()


def precedes(sender: float | None, captured: float, sent: float | None, wall: float = WALL) -> bool:
    """A frame's two capture times, and a question that was sent and came at 100.0 by the clock of `captured`."""
    frame = replace(FRAME, captured_sender=sender, captured=captured)
    return QuestionTime(100.0, wall, sent).precedes(frame)


def test_by_the_senders_clock_the_frame_is_not_older_than_the_question() -> None:
    """The stamp decides, however far this machine's clock is off."""
    assert precedes(WALL, 100.005, WALL, WALL + 0.3)
    assert precedes(WALL + 0.01, 100.005, WALL, WALL - 0.3)
    assert not precedes(WALL - 0.001, 100.005, WALL)
    # A slow path: the frame took 400 ms longer than the question.
    assert not precedes(WALL - 0.1, 100.3, WALL)


@pytest.mark.parametrize("lie", [0.1, 1.0, 60.0])
def test_a_stamp_in_the_future_makes_no_old_frame_new(lie: float) -> None:
    """A frame captured before the question by this machine's clock is never used."""
    assert not precedes(WALL - 0.02 + lie, 99.98, WALL)


@pytest.mark.parametrize("lie", [0.6, 2.0, 3600.0])
def test_a_stamp_in_the_past_does_not_make_a_question_wait(lie: float) -> None:
    """Further back than a path explains, the local rule decides: 10 ms past the arrival."""
    late = replace(FRAME, captured_sender=WALL + 0.02 - lie, captured=100.02)
    assert QuestionTime(100.0, WALL, WALL).do_stamps_disagree(late)
    assert precedes(WALL + 0.02 - lie, 100.02, WALL)
    assert not precedes(WALL + 0.005 - lie, 100.005, WALL)


@pytest.mark.parametrize("off", [2.001, -2.001, 1e9, math.nan, math.inf, -math.inf])
def test_an_unbelievable_stamp_is_ignored(off: float) -> None:
    """More than two seconds from the arrival: the local rule decides."""
    assert not precedes(WALL + 10, 100.009, WALL + off)
    assert precedes(WALL - 10, 100.011, WALL + off)


@pytest.mark.parametrize(("sender", "stamp"), [(None, WALL), (WALL, None), (None, None)])
def test_without_stamp_or_report_the_local_estimate_has_to_be_past_the_arrival(
    sender: float | None, stamp: float | None
) -> None:
    """By 10 ms, since the estimate may be late by a little."""
    assert not precedes(sender, 100.0, stamp)
    assert not precedes(sender, 100.009, stamp)
    assert precedes(sender, 100.0101, stamp)

"""One piece of background work: what it compares with, and when it asks."""

from __future__ import annotations

import pytest

from server.media.picture.planes import BufferPool
from server.shared.attention.attention import Attention
from server.shared.attention.gate import Change, Why
from tests.support.rooms import make_frame


def look(attention: Attention, scene: int, at: float, *, mark: bool = False) -> Change:
    change = attention.look(make_frame(scene=scene, captured=at, mark=mark))
    assert change is not None
    return change


def test_it_compares_with_the_frame_that_was_asked_about() -> None:
    """Also when later frames were looked at before the answer came."""
    attention = Attention(BufferPool())
    first = look(attention, 1, 0.0)
    assert (first.why, attention.due(first, 0.0)) == (Why.FIRST, True)
    attention.asked(first, 0.0)
    look(attention, 2, 0.5)
    attention.answered(0.6, same=False)
    assert look(attention, 2, 1.0).why is Why.SCENE
    assert look(attention, 1, 1.5).why is Why.SAME


def test_a_frame_soon_after_a_look_is_not_looked_at() -> None:
    attention = Attention(BufferPool())
    look(attention, 1, 0.0)
    assert attention.look(make_frame(scene=2, captured=0.3)) is None


def test_after_a_failure_it_waits_longer_each_time() -> None:
    """1, then 2 seconds; a retry ends the wait, and so does another stream."""
    attention = Attention(BufferPool())
    change = look(attention, 1, 0.0)
    for now, pause in ((0.0, 1.0), (1.0, 2.0)):
        attention.asked(change, now)
        attention.failed(now)
        assert not attention.due(change, now + pause - 0.1)
        assert attention.due(change, now + pause)
    attention.failed(3.0)
    attention.retry()
    assert attention.due(change, 3.0)
    attention.failed(3.0)
    attention.forget()
    assert attention.due(look(attention, 1, 3.5), 3.5)


def test_a_dropped_request_may_be_repeated_at_once() -> None:
    attention = Attention(BufferPool())
    change = look(attention, 1, 0.0)
    attention.asked(change, 0.0)
    attention.dropped()
    assert attention.due(change, 0.0)


def test_sensitivity_has_bounds() -> None:
    attention = Attention(BufferPool())
    attention.sensitive(4.0)
    for beyond in (0.2, 4.1):
        with pytest.raises(ValueError, match=r"allowed are 0.25 to 4"):
            attention.sensitive(beyond)


def test_the_small_picture_is_that_of_the_last_look() -> None:
    attention = Attention(BufferPool())
    look(attention, 1, 0.0)
    assert attention.small.shape == (90, 160)
    look(attention, 1, 0.5)
    upright = attention.look(make_frame(scene=1, captured=1.0, width=240, height=320))
    assert upright is not None
    assert attention.small.shape == (160, 90)


def test_it_takes_memory_from_its_first_look_until_it_forgets() -> None:
    """Two more megabytes for each visitor who wants no background work would be many."""
    attention = Attention(BufferPool(), sensitivity=2.0)
    assert attention._gate is None
    attention.asked(look(attention, 1, 0.0), 0.0)
    assert attention._gate is not None
    attention.forget()
    assert attention._gate is attention._asked is None
    # The answer of a request from before
    attention.answered(1.0, same=False)
    assert look(attention, 1, 2.0).why is Why.FIRST
    assert attention._gate is not None
    assert attention._gate.sensitivity == 2.0


def test_a_change_that_stays_differs_from_before() -> None:
    """Until the scene is as it was before the last request; without an earlier one nothing differs."""
    attention = Attention(BufferPool())

    def ask(scene: int, at: float, *, mark: bool = False) -> None:
        attention.asked(look(attention, scene, at, mark=mark), at, ahead=True)
        attention.answered(at + 0.1, same=False)

    empty, thing = (make_frame(scene=1, captured=9.0, mark=mark) for mark in (False, True))
    ask(1, 0.0)
    assert not attention.differs_from_before(thing)
    ask(1, 1.0, mark=True)
    assert attention.differs_from_before(thing)
    assert not attention.differs_from_before(empty)
    attention.forget()
    assert not attention.differs_from_before(thing)

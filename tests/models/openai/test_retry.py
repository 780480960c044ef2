"""Repeats of a request without a token, and their times."""

from __future__ import annotations

import math

import pytest

from server.core.errors import EngineFailed
from server.core.frames import Kind
from server.models.openai.upstream import LONGEST_WAIT, Fault, Reason, Retries


def fault(reason: Reason, wait: float | None = None) -> Fault:
    return Fault(reason, lambda: EngineFailed("failed"), wait)


@pytest.mark.parametrize("reason", [Reason.REFUSED, Reason.FAILED, Reason.BUSY])
def test_a_question_is_sent_again_twice(reason: Reason) -> None:
    """With growing pauses at the same server, and with none at another one."""
    for others in (False, True):
        retries = Retries(Kind.CHAT, 100.0)
        pauses = [retries.pause(fault(reason), others=others, now=0.0) for _ in range(3)]
        assert pauses == ([0.0, 0.0, None] if others else [0.1, 1.2, None])
        assert retries.last


def test_a_broken_connection_is_replaced_at_once() -> None:
    retries = Retries(Kind.CHAT, 100.0)
    assert retries.pause(fault(Reason.BROKEN), others=False, now=0.0) == 0.0
    assert retries.pause(fault(Reason.BROKEN), others=False, now=0.0) == 1.2


def test_no_repeat_begins_after_the_questions_deadline() -> None:
    retries = Retries(Kind.CHAT, 10.0)
    assert retries.pause(fault(Reason.FAILED), others=False, now=9.95) is None
    assert retries.pause(fault(Reason.FAILED), others=False, now=9.8) == 0.1


@pytest.mark.parametrize(
    ("wait", "pause"), [(0.0, 0.0), (2.0, 2.0), (LONGEST_WAIT + 1, None), (math.inf, None)]
)
def test_a_busy_server_is_given_the_time_that_it_asks_for(wait: float, pause: float | None) -> None:
    """Up to 3 s; another server is asked at once."""
    assert Retries(Kind.CHAT, 100).pause(fault(Reason.BUSY, wait), others=False, now=0) == pause
    assert Retries(Kind.CHAT, 100).pause(fault(Reason.BUSY, wait), others=True, now=0) == 0.0


def test_a_server_that_loads_is_left_for_another_one_only() -> None:
    assert Retries(Kind.CHAT, 100).pause(fault(Reason.LOADING), others=False, now=0) is None
    assert Retries(Kind.CHAT, 100).pause(fault(Reason.LOADING), others=True, now=0) == 0.0


@pytest.mark.parametrize("kind", [Kind.WATCH, Kind.DESCRIBE, Kind.PREFILL])
def test_background_work_only_gets_another_connection(kind: Kind) -> None:
    """It comes again by itself, and a busy or failing server gets no more of it."""
    for reason in (Reason.FAILED, Reason.BUSY, Reason.LOADING):
        assert Retries(kind, 100.0).pause(fault(reason), others=True, now=0.0) is None
    retries = Retries(kind, 100.0)
    assert retries.last
    assert retries.pause(fault(Reason.BROKEN), others=False, now=0.0) == 0.0
    assert retries.pause(fault(Reason.BROKEN), others=False, now=0.0) is None

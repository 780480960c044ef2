"""The bound on one session's background work."""

from __future__ import annotations

from server.core.frames import Kind
from server.session.request.builder import Allowance


def test_background_work_waits_for_the_next_tokens() -> None:
    """600 a minute are ten a second, and 600 at once; the last request may go below zero."""
    allowance = Allowance(600, 0.0)
    for _ in range(3):
        assert allowance.left(0.0)
        allowance.spent(Kind.DESCRIBE, 250, 0.0)
    assert not allowance.left(0.0)
    assert not allowance.left(14.9)
    assert allowance.left(15.1)


def test_the_wait_for_the_next_request_is_known() -> None:
    """Ten tokens a second: 50 below zero are five seconds."""
    allowance = Allowance(600, 0.0)
    assert allowance.wait(0.0) == 0.0
    allowance.spent(Kind.WATCH, 650, 0.0)
    assert allowance.wait(0.0) == 5.0
    assert allowance.wait(4.0) == 1.0
    assert allowance.wait(5.1) == 0.0


def test_unused_tokens_are_not_saved_up() -> None:
    allowance = Allowance(600, 0.0)
    assert allowance.left(1e6)
    allowance.spent(Kind.WATCH, 600, 1e6)
    assert not allowance.left(1e6)


def test_questions_are_counted_and_not_bounded() -> None:
    allowance = Allowance(600, 0.0)
    for _ in range(10):
        allowance.spent(Kind.CHAT, 1000, 0.0)
    allowance.spent(Kind.PREFILL, 100, 0.0)
    assert allowance.left(0.0)
    assert (allowance.questions, allowance.background) == (10, 1)
    assert allowance.visual_tokens == 10_100

"""The checks of all microphones: a bound, counts, and one line when the trouble begins and ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from server.core.metrics import Metrics
from server.features.voice_in.turn_model import MOST_CHECKS, TurnJudge, TurnModel
from tests.support.turn_checks import HeldTurnModel, checks_of

SOUND = np.zeros(16_000, np.int16)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_checks_are_bounded(pool: ThreadPoolExecutor) -> None:
    """One runs and two wait; a fourth is refused, until one has ended."""
    model = HeldTurnModel(complete=True)
    judge = TurnJudge(cast(TurnModel, model), pool, Metrics("0"))
    begun = [judge.begin(SOUND) for _ in range(MOST_CHECKS)]
    assert all(begun)
    assert judge.begin(SOUND) is None
    model.go.set()
    assert [cast("Future[bool]", one).result(10) for one in begun] == [True] * MOST_CHECKS
    # The last one is free when its callbacks have run, in the pool's thread.
    pool.submit(lambda: None).result(10)
    again = [judge.begin(SOUND) for _ in range(MOST_CHECKS)]
    assert all(again)


def test_a_failed_check_is_free_again(pool: ThreadPoolExecutor) -> None:
    """Whatever the model raises."""
    model = HeldTurnModel(error=ValueError("what was said"))
    model.go.set()
    judge = TurnJudge(cast(TurnModel, model), pool, Metrics("0"))
    for _ in range(3 * MOST_CHECKS):
        check = judge.begin(SOUND)
        assert check is not None
        assert isinstance(check.exception(10), ValueError)
        pool.submit(lambda: None).result(10)


def test_a_program_that_ends_takes_no_more(pool: ThreadPoolExecutor) -> None:
    """Its threads are gone: silence decides."""
    judge = TurnJudge(cast(TurnModel, HeldTurnModel()), pool, Metrics("0"))
    pool.shutdown()
    for _ in range(2 * MOST_CHECKS):
        assert judge.begin(SOUND) is None


def test_trouble_is_said_once(pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture) -> None:
    """A line when it begins and one when it ends, however many checks; each is counted."""
    metrics = Metrics("0")
    judge = TurnJudge(cast(TurnModel, HeldTurnModel()), pool, metrics)
    caplog.set_level(logging.INFO)
    for result in ("complete", "unused", "slow", "busy", "unused", "failed", "complete", "slow"):
        judge.note(result)
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "INFO", "WARNING"]
    assert vars(caplog.records[0])["reason"] == "slow"
    assert checks_of(metrics) == {"complete": 2, "unused": 2, "slow": 2, "busy": 1, "failed": 1}


def test_a_check_hears_its_own_sound(pool: ThreadPoolExecutor) -> None:
    """In the pool's thread, not in the one that asks."""
    model = HeldTurnModel(complete=False)
    model.go.set()
    judge = TurnJudge(cast(TurnModel, model), pool, Metrics("0"))
    check = judge.begin(SOUND + 7)
    assert check is not None
    assert check.result(10) is False
    (heard,) = model.heard
    assert (heard == 7).all()
    assert model.threads != {threading.get_ident()}

"""One microphone's checks: one at a time, each with an answer in time, none for a pause that is over."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np
import pytest

from server.core.metrics import Metrics
from server.core.sound import Sound
from server.features.voice_in import listening as turn_checks
from server.features.voice_in.listening import TurnChecks
from server.features.voice_in.turn_model import MOST_CHECKS, TurnJudge, TurnModel
from tests.support.fakes import until
from tests.support.turn_checks import HeldTurnModel, checks_of


@pytest.fixture(autouse=True)
def _time_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, too, a check is slow only where a test wants it to be."""
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 30.0)


def sound(value: int) -> Sound:
    return Sound(np.full(1600, value, np.int16), 100.0)


class Ear:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.model = HeldTurnModel()
        self.metrics = Metrics("0")
        self.judge = TurnJudge(cast(TurnModel, self.model), pool, self.metrics)
        self.answers: list[tuple[int, bool | None]] = []
        self.of_use = True
        self.checks = TurnChecks(self.judge, self._answer)

    def _answer(self, number: int, complete: bool | None) -> bool:
        self.answers.append((number, complete))
        return self.of_use

    @property
    def heard(self) -> list[int]:
        return [int(samples[0]) for samples in self.model.heard]

    @property
    def counted(self) -> dict[str, int]:
        return checks_of(self.metrics)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.mark.parametrize("complete", [True, False])
async def test_an_answer_comes_back(pool: ThreadPoolExecutor, complete: bool) -> None:
    """On the event loop, with its number; nothing waits afterwards."""
    ear = Ear(pool)
    ear.model.answer = complete
    ear.model.go.set()
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, complete)])
    assert not ear.checks.busy
    assert ear.counted == {"complete" if complete else "incomplete": 1}


async def test_a_slow_check_has_no_answer(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn does not wait for it; it is counted once, and its late answer goes nowhere."""
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 0.02)
    ear = Ear(pool)
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, None)])
    assert ear.checks.busy
    ear.model.go.set()
    await until(lambda: not ear.checks.busy)
    assert ear.answers == [(1, None)]
    assert ear.counted == {"slow": 1}


async def test_one_at_a_time(pool: ThreadPoolExecutor) -> None:
    """The person goes on and pauses again, twice, while a check runs: the newest pause is judged."""
    ear = Ear(pool)
    ear.checks.ask(1, sound(1))
    await until(lambda: ear.heard == [1])
    ear.checks.close()
    ear.checks.ask(2, sound(2))
    ear.checks.ask(3, sound(3))
    assert ear.heard == [1]
    ear.model.go.set()
    await until(lambda: ear.answers == [(3, True)])
    assert ear.heard == [1, 3]
    assert ear.counted == {"unused": 2, "complete": 1}


async def test_one_that_waits_for_too_long_is_not_made(
    pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one before it holds the thread."""
    monkeypatch.setattr(turn_checks, "ANSWER_SECONDS", 0.02)
    ear = Ear(pool)
    ear.checks.ask(1, sound(1))
    await until(lambda: ear.heard == [1])
    ear.checks.ask(2, sound(2))
    await until(lambda: ear.answers == [(2, None)])
    ear.model.go.set()
    await until(lambda: not ear.checks.busy)
    assert ear.heard == [1]
    assert ear.counted == {"unused": 1, "slow": 1}


async def test_too_many_at_once(pool: ThreadPoolExecutor) -> None:
    """Other microphones have all of them: no answer, at once."""
    ear = Ear(pool)
    for _ in range(MOST_CHECKS):
        ear.judge.begin(np.zeros(9, np.int16))
    ear.checks.ask(1, sound(5))
    assert ear.answers == [(1, None)]
    assert ear.counted == {"busy": 1}
    assert not ear.checks.busy
    ear.model.go.set()


async def test_a_failed_check(pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture) -> None:
    """No answer; the log has the kind of the error, and nothing of its text."""
    ear = Ear(pool)
    ear.model.error = ValueError("what was said")
    ear.model.go.set()
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, None)])
    (record,) = caplog.records
    assert vars(record)["error"] == "ValueError"
    assert "what was said" not in caplog.text
    assert ear.counted == {"failed": 1}
    ear.model.error = None
    ear.checks.ask(2, sound(6))
    await until(lambda: ear.answers[1:] == [(2, True)])


async def test_a_microphone_that_goes_off_hears_no_answer(pool: ThreadPoolExecutor) -> None:
    """The check ends alone."""
    ear = Ear(pool)
    ear.checks.ask(1, sound(5))
    ear.checks.close()
    ear.model.go.set()
    await until(lambda: not ear.checks.busy)
    await asyncio.sleep(0)
    assert ear.answers == []
    assert ear.counted == {"unused": 1}


async def test_an_answer_of_no_use_is_counted_as_such(pool: ThreadPoolExecutor) -> None:
    """The turn has ended by itself."""
    ear = Ear(pool)
    ear.of_use = False
    ear.model.go.set()
    ear.checks.ask(1, sound(5))
    await until(lambda: ear.answers == [(1, True)])
    assert ear.counted == {"unused": 1}

"""The list of watches: the person's time of day, and each reason for which nothing is watched."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.core.errors import (
    Busy,
    EngineFailed,
    EngineTimeout,
    Internal,
    QwenCameraError,
    RateLimited,
)
from server.features.watches import watching as watch_queue
from server.features.watches.watch_list import day_minute, zone_of
from server.models.base import EngineRequest, EngineState
from tests.features.watches.test_watching import ABLE, THING, Guard, reply
from tests.support.fakes import FakeEngine
from tests.support.rooms import room


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are made again at once."""
    monkeypatch.setattr(watch_queue, "_AGAIN_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("at", "minute"),
    [
        # Berlin: summer time begins on March 29th and ends on October 25th.
        (datetime(2026, 3, 28, 20, 30, tzinfo=UTC), 21 * 60 + 30),
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), 1 * 60 + 59),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), 3 * 60),
        (datetime(2026, 3, 29, 20, 30, tzinfo=UTC), 22 * 60 + 30),
        (datetime(2026, 10, 25, 20, 30, tzinfo=UTC), 21 * 60 + 30),
    ],
)
def test_hours_follow_summer_time(at: datetime, minute: int) -> None:
    """A watch from 22 to 6 begins at ten in the evening on both days."""
    zone = zone_of("Europe/Berlin")
    assert zone is not None
    assert day_minute(at.timestamp(), zone, 60) == minute


@pytest.mark.parametrize("name", ["", "Europe", "Mars/Base", "../../etc/passwd", "/etc/passwd"])
def test_an_unknown_zone_leaves_the_offset(name: str) -> None:
    """Also where there is no database of zones."""
    assert zone_of(name) is None
    assert day_minute(23 * 3600.0, None, 120) == 60


async def goes_on(guard: Guard) -> None:
    """The scene that stands still is looked at, and nothing stands in the way any more."""
    guard.engine.chunks = reply(False)
    await guard.show(3, times=12)
    assert guard.listed()[0]["state"] == "looking"


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (EngineState.LOADING, "The model is being loaded. It answers as soon as it is ready."),
        (EngineState.BUSY, "The model is busy. Ask again in a moment."),
        (EngineState.UNREACHABLE, "The model is not available right now."),
        (EngineState.MISCONFIGURED, "The model is not available right now."),
    ],
)
async def test_an_engine_that_does_not_answer_is_said(state: EngineState, words: str) -> None:
    """At once, without a request; and it goes on when the engine is back."""
    async with room(FakeEngine(capabilities=ABLE)) as one:
        guard = Guard(one)
        guard.watch()
        await guard.calm()
        asked = len(one.engine.requests)
        one.engine.state = state
        one.session.engine_changed()
        await guard.show(3)
        (watch,) = guard.listed()
        assert watch["state"] == "cannot"
        assert watch["reason"].startswith(words)
        assert len(one.engine.requests) == asked
        one.engine.state = None
        one.session.engine_changed()
        await goes_on(guard)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Busy("All places are taken. Ask again in a moment."), "All places are taken."),
        (RateLimited("Too many requests in a minute."), "Too many requests in a minute."),
        (EngineTimeout("http://10.0.0.7 said nothing."), "took too long"),
        (EngineFailed("http://10.0.0.7 broke."), "could not finish"),
        (Internal("Something went wrong with this answer."), "Something went wrong"),
        (RuntimeError("a bug in http://10.0.0.7"), "failed on the server"),
    ],
)
async def test_a_request_that_fails_is_said_until_one_succeeds(
    error: Exception, words: str
) -> None:
    """In the words for visitors, which name no address."""
    async with room(FakeEngine(capabilities=ABLE)) as one:
        guard = Guard(one)
        guard.watch()
        await guard.calm()
        one.engine.fail_at, one.engine.fail_with = 0, error
        await guard.show(3, times=4)
        (watch,) = guard.listed()
        assert watch["state"] == "cannot"
        if isinstance(error, QwenCameraError):
            assert watch["reason"] == error.visitor_message
        assert words in watch["reason"]
        assert "10.0.0.7" not in watch["reason"]
        one.engine.fail_at = None
        await goes_on(guard)


async def test_a_settled_scene_whose_look_failed_is_looked_at_again() -> None:
    """It may never change again, and the watch would say for ever that it cannot watch."""
    async with room(FakeEngine(capabilities=ABLE)) as one:
        guard = Guard(one)
        guard.watch()
        guard.engine.chunks = reply(False)
        await guard.show(3)
        one.engine.fail_at, one.engine.fail_with = 0, EngineFailed("It broke.")
        await guard.show(3, times=4)
        assert guard.listed()[0]["state"] == "cannot"
        one.engine.fail_at = None
        await goes_on(guard)


async def test_a_second_look_that_failed_is_made_up_for() -> None:
    """The thing is still there: it alerts with the next request."""
    async with room(FakeEngine(capabilities=ABLE)) as one:
        guard = Guard(one)
        guard.watch()
        await guard.calm()
        yes = reply(True, where=list(map(float, THING)))

        def chunks(request: EngineRequest) -> list[str]:
            one.engine.fail_at = 0 if "Which of these" not in request.question else None
            return yes(request)

        one.engine.chunks, one.engine.fail_with = chunks, EngineFailed("It broke.")
        await guard.show(mark=True, times=2)
        assert guard.alerts() == []
        one.engine.fail_at, one.engine.chunks = None, yes
        await guard.show(mark=True, times=8)
        assert len(guard.alerts()) == 1


async def test_a_session_that_used_its_share_says_so() -> None:
    """Not for a moment's wait, which is no news."""
    async with room(FakeEngine(capabilities=ABLE)) as one:
        guard = Guard(one)
        guard.watch()
        await guard.calm()
        allowance = one.session.allowance
        allowance._left = -allowance._rate
        await guard.show(3)
        assert guard.listed()[0]["state"] == "looking"
        allowance._left = -60 * allowance._rate
        await guard.show(3)
        (watch,) = guard.listed()
        assert watch["state"] == "cannot"
        assert "It goes on by itself." in watch["reason"]
        allowance._left = allowance._most
        await goes_on(guard)

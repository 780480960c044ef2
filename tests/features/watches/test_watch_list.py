"""The list of watches: the time of day, each reason for which nothing is watched; and the parts of one request."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.errors import (
    Busy,
    EngineFailed,
    EngineTimeout,
    Internal,
    QwenCameraError,
    RateLimited,
)
from server.core.frames import BoxUnit, Region
from server.features.watches.rule import MAX_WATCHES
from server.features.watches.watch_list import (
    convert_answer,
    crop_region,
    get_day_minute,
    parse_early_answer,
)
from server.media.picture.grounding import Box
from server.models.base import Capabilities, EngineRequest, EngineState
from server.shared.dates import get_zone
from server.shared.watch_answers import WatchAnswer
from tests.features.watches.test_watching import THING, Guard, reply
from tests.support.fakes import FakeEngine, make_picture, make_request
from tests.support.rooms import make_frame
from tests.support.words import say


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
    zone = get_zone("Europe/Berlin")
    assert zone is not None
    assert get_day_minute(at.timestamp(), zone, 60) == minute


@pytest.mark.parametrize("name", ["", "Europe", "Mars/Base", "../../etc/passwd", "/etc/passwd"])
def test_an_unknown_zone_leaves_the_offset(name: str) -> None:
    """Also where there is no database of zones."""
    assert get_zone(name) is None
    assert get_day_minute(23 * 3600.0, None, 120) == 60


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
async def test_an_engine_that_does_not_answer_is_said(
    watched: Guard, state: EngineState, words: str
) -> None:
    """At once, without a request; and it goes on when the engine is back."""
    asked = watched.asked
    watched.engine.state = state
    watched.one.session.engine_changed()
    await watched.show(3)
    (watch,) = watched.listed()
    assert watch["state"] == "cannot"
    assert watch["reason"].startswith(words)
    assert watched.asked == asked
    watched.engine.state = None
    watched.one.session.engine_changed()
    await goes_on(watched)


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
    watched: Guard, error: Exception, words: str
) -> None:
    """In the words for visitors, which name no address."""
    watched.engine.fail_at, watched.engine.fail_with = 0, error
    await watched.show(3, times=4)
    (watch,) = watched.listed()
    assert watch["state"] == "cannot"
    if isinstance(error, QwenCameraError):
        assert watch["reason"] == error.visitor_message
    assert words in watch["reason"]
    assert "10.0.0.7" not in watch["reason"]
    watched.engine.fail_at = None
    await goes_on(watched)


async def test_a_settled_scene_whose_look_failed_is_looked_at_again(guard: Guard) -> None:
    """It may never change again, and the watch would say for ever that it cannot watch."""
    guard.watch()
    guard.engine.chunks = reply(False)
    await guard.show(3)
    guard.engine.fail_at, guard.engine.fail_with = 0, EngineFailed("It broke.")
    await guard.show(3, times=4)
    assert guard.listed()[0]["state"] == "cannot"
    guard.engine.fail_at = None
    await goes_on(guard)


async def test_a_second_look_that_failed_is_made_up_for(watched: Guard) -> None:
    """The thing is still there: it alerts with the next request."""
    yes = reply(True, where=THING)

    def chunks(request: EngineRequest) -> list[str]:
        watched.engine.fail_at = 0 if "Which of these" not in request.question else None
        return yes(request)

    watched.engine.chunks, watched.engine.fail_with = chunks, EngineFailed("It broke.")
    await watched.show(mark=True, times=2)
    assert watched.alerts() == []
    watched.engine.fail_at, watched.engine.chunks = None, yes
    await watched.show(mark=True, times=8)
    assert len(watched.alerts()) == 1


async def test_a_session_that_used_its_share_says_so(watched: Guard) -> None:
    """Not for a moment's wait, which is no news."""
    allowance = watched.one.session.requests.allowance
    allowance._left = -allowance._rate
    await watched.show(3)
    assert watched.listed()[0]["state"] == "looking"
    allowance._left = -60 * allowance._rate
    await watched.show(3)
    (watch,) = watched.listed()
    assert watch["state"] == "cannot"
    assert watch["reason"] == say("server.watch_used_up")
    allowance._left = 60 * allowance._rate
    await goes_on(watched)


FRAME = make_frame(width=1280, height=720)


def request(width: int, height: int) -> EngineRequest:
    picture = dataclasses.replace(make_picture(), width=width, height=height)
    return make_request(picture=picture)


@given(st.floats(0, 1279), st.floats(0, 719), st.floats(1, 1280), st.floats(1, 720))
def test_a_crop_shows_its_place_and_lies_in_the_frame(
    x: float, y: float, wide: float, high: float
) -> None:
    """With something around it, and at least 224 pixels a side."""
    box = Box(x, y, min(1280.0, x + wide), min(720.0, y + high))
    region = crop_region(box, FRAME)
    if region is None:
        return
    assert 0 <= region.left <= box.x1 <= box.x2 <= region.right <= 1280
    assert 0 <= region.top <= box.y1 <= box.y2 <= region.bottom <= 720
    assert min(region.width, region.height) >= 224


def test_the_whole_frame_needs_no_crop() -> None:
    assert crop_region(None, FRAME) is None
    assert crop_region(Box(0, 0, 1280, 720), FRAME) is None


@pytest.mark.parametrize(
    ("unit", "box"),
    [
        (BoxUnit.THOUSANDTHS, Box(250, 500, 500, 1000)),
        (BoxUnit.THOUSANDTHS_Y_FIRST, Box(500, 250, 1000, 500)),
        (BoxUnit.PIXELS, Box(56, 112, 112, 224)),
    ],
)
def test_a_place_in_a_crop_is_one_in_the_frame(unit: BoxUnit, box: Box) -> None:
    """Exact in each unit."""
    region = Region(400, 200, 800, 600)
    answer = WatchAnswer(True, 0.9, box, "")
    found = convert_answer(answer, request(224, 224), unit, region)
    assert found.where == Box(500, 400, 600, 600)
    assert convert_answer(answer, request(224, 224), None, region).where is None


WHOLE = (
    '{"watches": [{"id": "w1", "seen": true, "sure": 0.8, "where": [1, 2, 3, 4], "why": "So."}]}'
)


def test_an_answer_is_known_before_its_reason() -> None:
    """And not before anything else of it; with a wrong id never."""
    early = WHOLE.index('"why"')
    for end in range(len(WHOLE)):
        found = parse_early_answer(WHOLE[:end], "w1")
        assert (found is not None) == (end >= early + len('"why"')), end
        if found is not None:
            assert (found.seen, found.confidence, found.where) == (True, 0.8, Box(1, 2, 3, 4))
    assert parse_early_answer(WHOLE, "w2") is None
    assert parse_early_answer('"why"', "w1") is None
    assert parse_early_answer('{"id": "w1", "seen": tr, "why"', "w1") is None


async def test_a_condition_is_read_once(guard: Guard) -> None:
    """However often its watch is set again and the list is sent: reading takes milliseconds of the event loop."""
    read = Counter[str]()

    def cannot(condition: str) -> str:
        read[condition] += 1
        return ""

    guard.one.engines.current = FakeEngine(capabilities=Capabilities(cannot_watch=cannot))
    guard.one.session.engine_changed()
    for _ in range(3):
        for number in range(MAX_WATCHES):
            guard.watch(str(number), f"thing {number}")
    await guard.show(times=2)
    assert len(guard.listed()) == len(read) == MAX_WATCHES
    assert set(read.values()) == {1}

"""Pictures of the recent past: what is kept, what a question gets of it, and when all of it goes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from server.core.frames import Frame
from server.core.messages import Chat, ClearRecall
from server.features.recall.recalling import RecallLimits, RecallPart, register_counter
from server.media.picture.encode import Bgr, decode
from server.media.picture.privacy import PrivacyFilter
from server.models.base import Capabilities
from server.session.request.parts import SessionLimits
from tests.features.rooms import room, settings
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Filter, Room, withhold

RECALLS = RecallLimits(300.0, 2_000_000)


@asynccontextmanager
async def remembering(
    engine: FakeEngine | None = None,
    *filters: PrivacyFilter,
    recall: RecallLimits = RECALLS,
    limits: SessionLimits = LIMITS,
) -> AsyncIterator[Room]:
    """A session whose person wants the past kept, and whose camera is open."""
    async with room(engine, *filters, limits=limits, recall=recall) as one:
        one.session.handle(settings(recall=True, thumbnails=True))
        one.camera()
        yield one


def recalling(one: Room) -> RecallPart:
    found: RecallPart = one.session.part("recall")
    return found


def kept(one: Room) -> int:
    recall = recalling(one)._recall
    return len(recall) if recall is not None else 0


def counted(one: Room, result: str) -> float:
    return float(register_counter(one.services.metrics).labels(result)._value.get())


async def past(one: Room, *ages: float) -> None:
    """Frames of these ages come and are kept, each another scene."""
    now = time.monotonic()
    for age in ages:
        before = counted(one, "kept")
        one.frame(captured=now - age, scene=int(counted(one, "kept")))
        await until(lambda before=before: counted(one, "kept") > before)  # type: ignore[misc]
        await until(lambda: recalling(one)._task is None)


async def ask(one: Room, question: str, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    one.session.handle(Chat(type="chat", content=question, **more))
    one.frame()
    return await one.next("started"), await one.next("response")


async def test_a_question_about_the_past_gets_its_pictures() -> None:
    """Oldest first, with numbers and ages, before the picture of now; the answer's frames are those that it names."""
    engine = FakeEngine(chunks=["On the shelf [2]."])
    async with remembering(engine) as one:
        await past(one, 60, 30, 10)
        started, response = await ask(one, "Where did I put the keys?")
        (request,) = engine.requests
        shown = [(one.number, one.caption.splitlines()[-1][:3]) for one in request.earlier]
        assert shown == [(1, "[1]"), (2, "[2]"), (3, "[3]")]
        assert [one.picture.frame_id for one in request.earlier] == ["f1", "f2", "f3"]
        assert request.picture.frame_id == "f4"
        assert started["route"] == response["route"] == "past"
        assert [frame["number"] for frame in started["frames"]] == [1, 2, 3]
        assert not any("picture" in frame for frame in started["frames"])
        assert [frame["cited"] for frame in response["frames"]] == [False, True, False]
        pictures = [frame.get("picture", "")[:23] for frame in response["frames"]]
        assert pictures == ["", "data:image/jpeg;base64,", ""]
        times = [frame["captured_at"] for frame in response["frames"]]
        now = response["frame"]["captured_at"]
        assert [round((now - at) / 1000) for at in times] == [60, 30, 10]


async def test_an_answer_that_names_none_shows_all() -> None:
    """The person can look, whatever the model says; a client without thumbnails gets no pictures."""
    async with remembering(FakeEngine(chunks=["I do not know."])) as one:
        await past(one, 20, 10)
        _, response = await ask(one, "What just happened?")
        assert ["picture" in frame for frame in response["frames"]] == [True, True]
        one.session.handle(settings(thumbnails=False))
        _, response = await ask(one, "What just happened?")
        assert ["picture" in frame for frame in response["frames"]] == [False, False]


async def test_other_questions_look_at_now_alone() -> None:
    """Earlier pictures cost tokens; a tap on another route asks with or without them."""
    async with remembering() as one:
        await past(one, 10)
        _, response = await ask(one, "What is this?")
        assert (response["route"], response.get("frames")) == ("now", None)
        _, response = await ask(one, "What is this?", route="past")
        assert response["route"] == "past"
        _, response = await ask(one, "What just happened?", route="now")
        assert response["route"] == "now"
        assert [len(request.earlier) for request in one.engine.requests] == [0, 1, 0]


async def test_the_budget_bounds_the_pictures() -> None:
    """By the engine's number of pictures, by its context, and by tokens; recent ones and the oldest stay."""
    engine = FakeEngine()
    async with remembering(engine) as one:
        await past(one, *range(120, 0, -8))
        await ask(one, "What just happened?")
        request = engine.requests[-1]
        assert len(request.earlier) == 8
        assert sum(shown.picture.visual_tokens for shown in request.earlier) <= 4 * 512
        assert request.earlier[0].picture.frame_id in ("f1", "f2")
        engine.capabilities = Capabilities(max_pictures=3)
        await ask(one, "What just happened?")
        assert len(engine.requests[-1].earlier) == 2
        engine.capabilities = Capabilities(context_length=2048)
        await ask(one, "What just happened?")
        request = engine.requests[-1]
        assert 1 <= len(request.earlier) < 8
        assert request.visual_tokens <= 1024
        assert request.max_tokens == 128


@pytest.mark.parametrize(
    ("question", "ids"),
    [
        ("What happened two minutes ago?", ["f2", "f3"]),
        ("Was ist in der letzten Minute passiert?", ["f4", "f5", "f6"]),
        ("What changed since I started?", ["f1", "f2", "f3", "f4", "f5", "f6"]),
        # Nothing is kept of that time.
        ("What happened ten minutes ago?", ["f1", "f2", "f3", "f4", "f5", "f6"]),
    ],
)
async def test_the_time_that_a_question_names(question: str, ids: list[str]) -> None:
    """Pictures of that time, with the one that shows its beginning."""
    engine = FakeEngine()
    async with remembering(engine) as one:
        await past(one, 240, 170, 100, 62, 30, 10)
        await ask(one, question)
        shown = [earlier.picture.frame_id for earlier in engine.requests[-1].earlier]
        assert shown == ids


async def test_an_engine_of_one_picture_is_asked_about_now() -> None:
    """The answer says so by its route."""
    engine = FakeEngine(capabilities=Capabilities(max_pictures=1))
    async with remembering(engine) as one:
        await past(one, 10)
        started, response = await ask(one, "What just happened?")
        assert started["route"] == response["route"] == "now"
        assert "frames" not in response


async def test_an_engine_of_videos_gets_the_past_as_one() -> None:
    """With more frames than it takes pictures, in pairs; the answer's details say so."""
    engine = FakeEngine(chunks=["Yes [2]."], capabilities=Capabilities(video=True, max_pictures=2))
    async with remembering(engine) as one:
        await past(one, 60, 50, 40, 30, 10)
        _, response = await ask(one, "What just happened?")
        request = engine.requests[-1]
        assert (request.video, len(request.earlier)) == (True, 4)
        assert request.earlier[-1].picture.frame_id == "f5"
        assert response["frames_sent"] == "video"
        assert [frame["cited"] for frame in response["frames"]] == [False, True, False, False]
        engine.capabilities = Capabilities(max_pictures=3)
        _, response = await ask(one, "What just happened?")
        assert (engine.requests[-1].video, len(engine.requests[-1].earlier)) == (False, 2)
        assert response["frames_sent"] == "pictures"


async def test_nothing_is_kept_unless_the_person_wants_it() -> None:
    """A client that knows nothing of it has no past, and its frames are not even looked at."""
    async with room(recall=RECALLS) as one:
        one.camera()
        one.session.socket_opened()
        one.frame()
        assert not one.session.camera.on_sample
        assert recalling(one)._attention is None
        assert not [m for m in await one.rest() if m["type"] == "recall"]


async def test_nothing_is_kept_where_the_server_is_told_not_to() -> None:
    """RECALL_SECONDS=0 holds against any client."""
    async with remembering(recall=RecallLimits(0.0, 0)) as one:
        one.frame()
        one.session.greet()
        ready = await one.next("ready")
        assert ready["features"]["recall"] == {"seconds": 0, "bytes": 0}
        assert recalling(one)._attention is None


@pytest.mark.parametrize("how", ["forget", "switched off", "another device", "session ends"])
async def test_the_past_is_dropped(how: str) -> None:
    """On request, with the wish, with another device's camera, and with the session."""
    async with remembering() as one:
        await past(one, 40, 20)
        told = [m for m in await one.rest() if m["type"] == "recall"][-1]
        assert (told["pictures"], told["bytes"]) == (2, recalling(one).size)
        assert abs(time.time() * 1000 - told["oldest_at"] - 40_000) < 2000
        session = one.session
        if how == "forget":
            session.handle(ClearRecall(type="clear_recall"))
        elif how == "switched off":
            session.handle(settings(recall=False))
        elif how == "another device":
            session.camera.open_connection(session.camera.new_connection(sender_controlled=False))
        else:
            await session.close("session_ended")
        assert (kept(one), recalling(one).size, recalling(one)._recall) == (0, 0, None)
        assert counted(one, "cleared") == 2
        assert not recalling(one)._timer
        if how != "session ends":
            assert [m for m in await one.rest() if m["type"] == "recall"][-1]["pictures"] == 0
        if how == "forget":
            # Not at once, or whoever clears again and again would have pictures made without an end.
            assert recalling(one)._until > time.monotonic()
            recalling(one)._until = 0.0
            await past(one, 5)
            assert kept(one) == 1


async def test_the_past_survives_a_new_connection_of_the_page() -> None:
    """A phone that changes its network keeps it; frames of both are not compared with each other."""
    async with remembering() as one:
        await past(one, 20)
        one.session.socket_closed()
        one.session.camera.end()
        one.camera()
        one.session.socket_opened()
        assert kept(one) == 1
        await past(one, 5)
        assert kept(one) == 2


async def test_pictures_go_by_themselves_when_they_are_old() -> None:
    """Also without a camera and a socket."""
    async with remembering(recall=replace(RECALLS, seconds=1.0)) as one:
        await past(one, 0.6)
        one.session.socket_closed()
        one.session.camera.end()
        await until(lambda: kept(one) == 0)
        assert counted(one, "old") == 1
        assert not recalling(one)._timer


async def test_filters_are_applied_before_a_picture_is_kept() -> None:
    """Memory does not have the hidden part either."""
    async with remembering(None, Filter(lambda bgr: np.full_like(bgr, 255))) as one:
        await past(one, 10)
        recall = recalling(one)._recall
        assert recall is not None
        (picture,) = recall.list_pictures()
        bgr = decode(picture.jpeg)
        assert bgr is not None
        assert bgr.min() > 250
        # Nor is the camera's frame itself held: one of 1280×720 has 1.4 MB.
        held = [getattr(picture, field.name) for field in fields(picture)]
        assert not any(isinstance(value, Frame) for value in held)
        assert len(picture.jpeg) <= 36 * 1024


async def test_a_withheld_frame_is_not_kept() -> None:
    """It is counted, and the next one is not tried at once."""
    async with remembering(None, Filter(withhold)) as one:
        one.frame(captured=time.monotonic() - 10)
        await until(lambda: counted(one, "withheld") == 1)
        await until(lambda: recalling(one)._task is None)
        assert kept(one) == 0
        one.frame(captured=time.monotonic() - 5)
        assert recalling(one)._task is None


class Slow:
    """Waits until it may go on."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()

    def apply(self, bgr: Bgr) -> Bgr:
        self.began.set()
        assert self.go.wait(5)
        return bgr


async def test_one_picture_is_made_at_a_time() -> None:
    """Frames that come meanwhile are counted, not queued: the threads are for questions."""
    slow, keeping = Slow(), asyncio.Semaphore(1)
    async with remembering(None, slow, recall=replace(RECALLS, keeping=keeping)) as one:
        now = time.monotonic()
        one.frame(captured=now - 20, scene=1)
        await asyncio.to_thread(slow.began.wait, 5)
        for age in (15, 10, 5):
            one.frame(captured=now - age, scene=age)
        assert counted(one, "busy") == 3
        slow.go.set()
        await until(lambda: counted(one, "kept") == 1)
        await until(lambda: recalling(one)._task is None)
        # Another session's picture is under way.
        async with keeping:
            one.frame(captured=now - 1, scene=2)
        assert (counted(one, "busy"), kept(one)) == (4, 1)


async def test_a_picture_in_the_making_is_dropped_too() -> None:
    """Whoever clears the memory means everything seen so far."""
    slow = Slow()
    async with remembering(None, slow) as one:
        one.frame(captured=time.monotonic() - 20)
        await asyncio.to_thread(slow.began.wait, 5)
        one.session.handle(ClearRecall(type="clear_recall"))
        slow.go.set()
        await until(lambda: recalling(one)._task is None)
        assert (kept(one), counted(one, "cleared"), counted(one, "kept")) == (0, 1, 0)


async def test_frames_that_did_not_fit_are_not_shown() -> None:
    """The answer's frames are those that the engine saw, by the numbers of their captions."""

    engine = FakeEngine(capabilities=Capabilities(context_length=2048))
    async with remembering(engine, limits=replace(LIMITS, max_tokens=600)) as one:
        await past(one, 60, 40, 20)
        started, response = await ask(one, "What just happened?" + "木" * 370)
        numbers = [shown.number for shown in engine.requests[0].earlier]
        assert numbers in ([2, 3], [3])
        assert [frame["number"] for frame in started["frames"]] == numbers
        assert [frame["number"] for frame in response["frames"]] == numbers

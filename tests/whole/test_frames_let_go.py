"""Pictures after their questions: whatever became of a question, nothing keeps its picture, not even until Python's collector
runs. A frame is a megabyte and more of the decoder's own memory, which the collector does not count.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import pytest

from server.core.errors import EngineFailed
from server.core.frames import BoxUnit, Frame, QuestionMode
from server.core.messages import Cancel, Chat, DeleteAnswer
from server.core.sound import SOUND_RATE, Sound
from server.features.cameras.cameras import OWN, get_cameras
from server.features.grants import tools
from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramAccess
from server.features.grants.program_question import ProgramQuestion
from server.features.grants.programs import SessionPrograms, get_programs
from server.models.base import Capabilities, Chunk, Delta, EngineRequest
from server.session.request.parts import Spoken
from tests.features.rooms import live_room
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import Room, make_frame

pytestmark = pytest.mark.asyncio

TIMES = 8
# Of the frames of a further camera
NUMBERS = itertools.count(1000)


@asynccontextmanager
async def opened(engine: FakeEngine | None = None) -> AsyncIterator[Room]:
    """A room with a live camera and an open socket, in which programs may ask."""
    async with live_room(engine, grants=lambda context: SessionPrograms(context, 600)) as one:
        one.frame()
        one.session.socket_opened()
        yield one


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def pictures(one: Room) -> int:
    """Count the frames that exist, and the requests with their JPEGs."""
    one.engine.requests.clear()
    return sum(type(each) in (Frame, EngineRequest) for each in gc.get_objects())


async def frames_until(one: Room, task: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(10):
        while not task.done():
            one.frame()
            await asyncio.sleep(0.01)


async def asked(one: Room, number: int, **more: Any) -> None:
    id = f"q{number}"
    one.session.handle(Chat(type="chat", content="Where is the cup?", id=id, **more))
    ended = one.until(lambda m: m["type"] in ("response", "error") and m.get("id") == id)
    await frames_until(one, asyncio.create_task(ended))


async def stopped(one: Room, number: int) -> None:
    """A question that is stopped while the engine answers."""
    one.engine.hold()
    asking = asyncio.create_task(asked(one, number))
    await until(lambda: one.engine.open == 1)
    one.session.handle(Cancel(type="cancel", id=f"q{number}"))
    await asking
    one.engine.release()
    await until(lambda: one.engine.open == 0)


async def looked(one: Room, number: int, route: QuestionMode | None = None) -> None:
    """A program's look, with access of its own that ends."""
    programs = get_programs(one.session)
    grant, _ = programs.make("Helper", (Scope.LOOK,), 600)
    question = ProgramQuestion("Is the kettle on?", route=route)
    looking = asyncio.create_task(programs.ask(grant, question))
    await frames_until(one, looking)
    assert looking.exception() is None
    programs.end(grant.id)


async def where(one: Room, number: int) -> None:
    await asked(one, number, route="where")


async def program_where(one: Room, number: int) -> None:
    await looked(one, number, QuestionMode.WHERE)


def shown(one: Room) -> None:
    """A new frame of each camera."""
    one.frame()
    (camera,) = get_cameras(one.session).cameras
    feed = camera.feed
    assert feed is not None
    feed.packet_received(time.monotonic())
    feed.frame(make_frame(next(NUMBERS), captured=time.monotonic() + 0.02))


async def around(one: Room, number: int) -> dict[str, Any]:
    """A question about two cameras."""
    cameras = get_cameras(one.session)
    if not cameras.cameras:
        id = cameras.invite("Desk").camera
        cameras.get_camera(id).open_connection()
        cameras.choose([OWN, id])
    id = f"q{number}"
    one.session.handle(Chat(type="chat", content="Where is the cup?", id=id))
    ended = asyncio.create_task(one.until(lambda m: m["type"] == "response" and m["id"] == id))
    async with asyncio.timeout(10):
        while not ended.done():
            shown(one)
            await asyncio.sleep(0.01)
    return ended.result()


async def keeps_none(one: Room, ask: Callable[[Room, int], Awaitable[Any]]) -> None:
    # The first one makes what is kept once.
    await ask(one, 0)
    with without_collector():
        before = pictures(one)
        for number in range(1, TIMES + 1):
            await ask(one, number)
        # The newest ones, and those that are on their way somewhere
        assert pictures(one) <= before + 3


@pytest.mark.parametrize("ask", [asked, where, around, stopped, looked, program_where])
async def test_an_answered_one_keeps_no_frame(
    ask: Callable[[Room, int], Awaitable[Any]],
) -> None:
    engine = FakeEngine(capabilities=Capabilities(grounding=True, boxes=BoxUnit.PIXELS))
    async with opened(engine) as one:
        await keeps_none(one, ask)


async def called(one: Room, number: int) -> None:
    """A program's look over MCP."""
    programs = get_programs(one.session)
    grant, _ = programs.make("Helper", (Scope.LOOK,), 600)
    looking = asyncio.create_task(
        tools.call(ProgramAccess(one.session, grant), "look", {"question": "Is the kettle on?"})
    )
    await frames_until(one, looking)
    assert looking.result().is_error
    programs.end(grant.id)


@pytest.mark.parametrize("ask", [asked, where, called])
async def test_a_failed_one_keeps_no_frame(
    ask: Callable[[Room, int], Awaitable[None]],
) -> None:
    class Failing(FakeEngine):
        """Each error is a new one, as a real engine's."""

        async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
            raise EngineFailed("no")
            yield Delta("")

    async with opened(Failing()) as one:
        await keeps_none(one, ask)


async def gone(one: Room, ids: set[str]) -> None:
    """Wait until frames do not exist any more."""
    one.engine.requests.clear()
    await until(
        lambda: not any(type(each) is Frame and each.id in ids for each in gc.get_objects())
    )


@pytest.mark.slow
async def test_a_question_about_cameras_keeps_none_of_their_frames() -> None:
    """Not even the last one: only the frames of a spoken question may be asked about again."""
    async with opened() as one:
        with without_collector():
            answer = await around(one, 1)
            seen = {answer["frame"]["id"], *(each["id"] for each in answer["others"])}
            assert len(seen) == 2
            shown(one)
            await gone(one, seen)


async def test_a_question_that_is_deleted_keeps_no_frame() -> None:
    """One that was spoken keeps its frame until then, for other words."""
    async with opened() as one:
        with without_collector():
            said(one)
            answer = await one.next("response")
            one.frame()
            one.session.handle(DeleteAnswer(type="delete_answer", id="q"))
            await gone(one, {answer["frame"]["id"]})


def said(one: Room, *, frame: bool = True) -> weakref.ref[Any]:
    """Ask aloud; the reference is empty once nothing keeps the sound."""
    samples = np.ones(SOUND_RATE, np.int16)
    spoken = Spoken(one.frame() if frame else None, Sound(samples, 0.0))
    message = Chat(type="chat", content="What is it?", id="q")
    one.session.questions.ask(message, spoken)
    return weakref.ref(samples)


async def heard(one: Room) -> weakref.ref[Any]:
    sound = said(one)
    await one.next("response")
    assert one.engine.requests[-1].sound is not None
    return sound


async def broken_off(one: Room) -> weakref.ref[Any]:
    """While the engine answers"""
    one.engine.hold()
    sound = said(one)
    await until(lambda: one.engine.open == 1)
    one.session.handle(Cancel(type="cancel", id="q"))
    one.engine.release()
    await until(lambda: one.engine.open == 0)
    return sound


async def given_up(one: Room) -> weakref.ref[Any]:
    """Before there is a frame"""
    sound = said(one, frame=False)
    await asyncio.sleep(0)
    one.session.handle(Cancel(type="cancel", id="q"))
    assert not one.engine.requests
    return sound


async def unseen(one: Room) -> weakref.ref[Any]:
    """The camera has gone."""
    feed = one.session.camera.feed
    assert feed is not None
    feed.stream_ended()
    sound = said(one, frame=False)
    await one.next("error")
    return sound


@pytest.mark.parametrize("ask", [heard, broken_off, given_up, unseen])
async def test_the_sound_of_a_question_goes_with_it(
    ask: Callable[[Room], Awaitable[weakref.ref[Any]]],
) -> None:
    """Whoever corrects its words afterwards asks about its frame."""
    async with opened(FakeEngine(capabilities=Capabilities(audio_in=True))) as one:
        with without_collector():
            sound = await ask(one)
            one.engine.requests.clear()
            await until(lambda: sound() is None)

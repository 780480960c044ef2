"""Pictures after their questions: whatever became of a question, nothing keeps its picture, not even until Python's collector
runs. A frame is a megabyte and more of the decoder's own memory, which the collector does not count.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from server.core.errors import EngineFailed
from server.core.frames import BoxUnit, Frame, Route
from server.core.messages import Cancel, Chat
from server.engines.base import Capabilities, Chunk, Delta, EngineRequest
from server.grants.grants import Scope
from server.programs import tools
from server.programs.guard import Pass
from server.session.programs.program_question import ProgramQuestion
from tests.support.fakes import FakeEngine, until
from tests.support.rooms import LIMITS, Room, room

pytestmark = pytest.mark.asyncio

TIMES = 8


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


async def looked(one: Room, number: int, route: Route | None = None) -> None:
    """A program's look, with access of its own that ends."""
    programs = one.session.programs
    grant, _ = programs.make("Helper", (Scope.LOOK,), 600)
    question = ProgramQuestion("Is the kettle on?", route=route)
    looking = asyncio.create_task(programs.ask(grant, question))
    await frames_until(one, looking)
    assert looking.exception() is None
    programs.end(grant.id)


async def where(one: Room, number: int) -> None:
    await asked(one, number, route="where")


async def program_where(one: Room, number: int) -> None:
    await looked(one, number, Route.WHERE)


@pytest.mark.parametrize("ask", [asked, where, stopped, looked, program_where])
async def test_an_answered_question_keeps_no_frame(
    ask: Callable[[Room, int], Awaitable[None]],
) -> None:
    engine = FakeEngine(capabilities=Capabilities(grounding=True, boxes=BoxUnit.PIXELS))
    limits = replace(LIMITS, program_looks_per_minute=600)
    async with room(engine, limits=limits) as one:
        one.camera()
        one.frame()
        one.session.socket_opened()
        # The first one makes what is kept once.
        await ask(one, 0)
        with without_collector():
            before = pictures(one)
            for number in range(1, TIMES + 1):
                await ask(one, number)
            # The newest ones, and those that are on their way somewhere
            assert pictures(one) <= before + 3


async def called(one: Room, number: int) -> None:
    """A program's look over MCP."""
    programs = one.session.programs
    grant, _ = programs.make("Helper", (Scope.LOOK,), 600)
    looking = asyncio.create_task(
        tools.call(Pass(one.session, grant), "look", {"question": "Is the kettle on?"})
    )
    await frames_until(one, looking)
    assert looking.result().is_error
    programs.end(grant.id)


@pytest.mark.parametrize("ask", [asked, where, called])
async def test_a_failed_question_keeps_no_frame(
    ask: Callable[[Room, int], Awaitable[None]],
) -> None:
    class Failing(FakeEngine):
        """Each error is a new one, as a real engine's."""

        async def answer(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
            raise EngineFailed("no")
            yield Delta("")

    limits = replace(LIMITS, program_looks_per_minute=600)
    async with room(Failing(), limits=limits) as one:
        one.camera()
        one.frame()
        one.session.socket_opened()
        await ask(one, 0)
        with without_collector():
            before = pictures(one)
            for number in range(1, TIMES + 1):
                await ask(one, number)
            assert pictures(one) <= before + 3

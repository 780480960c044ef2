"""Guidance of a session: when a frame is looked at, what the client hears of it, and when nothing is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.core.frames import Frame
from server.core.metrics import Metrics
from server.features.guidance.guidance import Guidance, Looker, get_counter
from server.features.guidance.leading import Seeker
from server.features.guidance.scanning import Scanner
from server.session.part import SessionContext, SessionFeatures
from server.session.session import Session
from server.shared.aim import Found, Thing
from tests.features.rooms import room, settings
from tests.support.fakes import until
from tests.support.rooms import LIMITS, Room


async def nothing(*_: Any) -> tuple[list[Any], float]:
    return [], 0.0


PAGE = Found(lines=(Thing(0.3, 0.3, 0.7, 0.7, 0.03),))


class Finds:
    """Stands in for what looks: keeps what it was given; a test's say what it finds."""

    def __init__(self) -> None:
        self.looks: list[Any] = []
        # Of the processor, for each look
        self.seconds = 0.0
        self.fails: Exception | None = None
        # Cleared: a look waits.
        self.open = asyncio.Event()
        self.open.set()

    async def look(self, *given: Any) -> None:
        self.looks.append(given)
        await self.open.wait()
        if self.fails is not None:
            raise self.fails


class Looks(Finds):
    """Finds text and faces."""

    def __init__(self) -> None:
        super().__init__()
        self.found = PAGE
        self.looker = Looker(self.find)

    async def find(self, frame: Frame, thorough: bool) -> Found:
        await self.look(frame, thorough)
        return self.found


@asynccontextmanager
async def guided(*, guidance: bool = True) -> AsyncIterator[tuple[Room, Looks]]:
    """A session whose person wants to be guided, and whose camera is open."""
    finding = Looks()
    async with room(looker=finding.looker) as one:
        one.session.socket_opened()
        one.session.handle(settings(guidance=guidance))
        one.camera()
        yield one, finding


@asynccontextmanager
async def beside(
    one: Room,
    *,
    looker: Looker | None = None,
    seeker: Seeker | None = None,
    scanner: Scanner | None = None,
) -> AsyncIterator[Room]:
    """Another session of the same server, with a camera; it shares what looks with `one`."""

    def part(context: SessionContext) -> Guidance:
        looks = looker or Looks().looker
        return Guidance(context, looks, seeker or Seeker(nothing), scanner or Scanner(nothing))

    features = SessionFeatures(["guidance"], {"guidance": part})
    other = Session("h", LIMITS, one.services, features)
    try:
        guest = Room(one.engine, other, one.services, one.engines)
        guest.camera()
        yield guest
    finally:
        await other.close("session_ended")


def counting(counter: Callable[[Metrics], Any]) -> Callable[[Room, str], float]:
    return lambda one, result: float(counter(one.services.metrics).labels(result)._value.get())


counted = counting(get_counter)


async def look(one: Room, ahead: float) -> None:
    """A frame of so many seconds from now comes and is looked at."""
    done = counted(one, "done") + counted(one, "failed")
    one.frame(captured=time.monotonic() + ahead)
    await until(lambda: counted(one, "done") + counted(one, "failed") > done)
    await until(lambda: not one.session.part("guidance").looks.running)


async def hints(one: Room) -> list[tuple[str, str | None]]:
    found = [m for m in await one.rest() if m["type"] == "aim"]
    return [(m["hint"], m.get("about")) for m in found]


async def test_one_look_a_second_and_sooner_while_unsure() -> None:
    """Frames between are not even counted as busy."""
    async with guided() as (one, finding):
        await look(one, 0)
        one.frame(captured=finding.looks[0][0].captured + 0.2)
        assert len(finding.looks) == 1
        await look(one, 0.5)
        one.frame(captured=finding.looks[1][0].captured + 0.5)
        assert len(finding.looks) == 2
        await look(one, 1.6)
        assert counted(one, "busy") == 0


async def test_nothing_is_looked_at_unless_the_person_wants_it() -> None:
    async with guided(guidance=False) as (one, finding):
        assert not one.session.camera.on_sample
        one.frame()
        one.session.handle(settings(guidance=True))
        assert one.session.camera.on_sample
        await look(one, 1)
        one.session.handle(settings(guidance=False))
        assert not one.session.camera.on_sample
        assert len(finding.looks) == 1


async def test_nothing_is_looked_at_without_a_socket() -> None:
    """Nobody would hear it; another socket hears the last hint again."""
    async with guided() as (one, finding):
        await look(one, 0)
        await look(one, 1)
        await hints(one)
        one.session.socket_closed()
        one.frame(captured=time.monotonic() + 3)
        assert len(finding.looks) == 2
        one.session.socket_opened()
        assert await hints(one) == [("good", "text")]


async def test_one_look_at_a_time_in_all_sessions() -> None:
    """The pool's thread answers questions, too: frames that come meanwhile are dropped and counted."""
    async with guided() as (one, finding):
        finding.open.clear()
        one.frame(captured=time.monotonic())
        await until(lambda: len(finding.looks) == 1)
        one.frame(captured=time.monotonic() + 2)
        assert counted(one, "busy") == 1
        async with beside(one, looker=finding.looker) as guest:
            guest.session.handle(settings(guidance=True))
            guest.frame()
            assert counted(one, "busy") == 2
        finding.open.set()
        await until(lambda: counted(one, "done") == 1)
        assert len(finding.looks) == 1


async def test_a_hint_of_another_stream_does_not_count() -> None:
    """A new connection begins anew, also for the look that is on its way."""
    async with guided() as (one, finding):
        await look(one, 0)
        finding.open.clear()
        one.frame(captured=time.monotonic() + 1)
        await until(lambda: len(finding.looks) == 2)
        one.camera()
        finding.open.set()
        await until(lambda: counted(one, "done") == 2)
        assert await hints(one) == []
        await look(one, 2)
        assert await hints(one) == []
        await look(one, 3)
        assert await hints(one) == [("good", "text")]


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), MemoryError()])
async def test_a_failed_look_is_counted_and_tried_later(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken library neither ends the session nor is asked twice a second."""
    async with guided() as (one, finding):
        finding.fails = error
        await look(one, 0)
        assert counted(one, "failed") == 1
        one.frame(captured=time.monotonic() + 2)
        assert len(finding.looks) == 1
        finding.fails = None
        await look(one, 6)
        assert counted(one, "done") == 1
    assert type(error).__name__ in str([vars(record) for record in caplog.records])

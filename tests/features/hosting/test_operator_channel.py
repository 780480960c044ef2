"""Operators' sockets get state and lines, bounded, and no other socket does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.features.hosting.hosting import LOG_SECONDS, MAX_LINE_CHARS, MAX_LINES, OperatorChannel
from server.features.hosting.messages import EngineReport
from server.session.request.outbox import MAX_BYTES, Outbox, Reader

pytestmark = pytest.mark.asyncio


class Place:
    def __init__(self) -> None:
        self.state = "idle"
        self.dropped = 0
        self.channel = OperatorChannel(lambda: EngineReport(state=self.state), self._drop)

    def _drop(self) -> None:
        self.dropped += 1


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    one = Place()
    yield one
    one.channel.close()


def waiting(outbox: Outbox) -> list[str]:
    return [entry.message.model_dump()["type"] for entry in outbox._waiting]


async def told(reader: Reader, type: str) -> dict[str, Any]:
    """The next message, which has this type."""
    async with asyncio.timeout(2):
        message: dict[str, Any] = json.loads(await reader.get())
    assert message["type"] == type
    return message


async def test_who_joins_hears_how_it_stands_and_what_comes(place: Place) -> None:
    """First the state and the last lines, then each change and each line."""
    place.channel.line("before")
    outbox = Outbox()
    place.channel.join(outbox)
    reader = outbox.attach()
    assert (await told(reader, "engine"))["state"] == "idle"
    assert (await told(reader, "log"))["lines"] == ["before"]
    place.state = "loading"
    place.channel.changed()
    place.channel.line("one")
    place.channel.line("two\n")
    assert (await told(reader, "engine"))["state"] == "loading"
    assert await told(reader, "log") == {"type": "log", "lines": ["one", "two"], "dropped": 0}


async def test_nobody_else_hears_anything(place: Place) -> None:
    """Not before joining, not after leaving; and what waited for one that left goes to no other socket of its session."""
    outbox, other = Outbox(), Outbox()
    place.channel.changed()
    place.channel.line("before")
    assert outbox.empty
    for one in (outbox, other):
        place.channel.join(one)
    assert waiting(outbox) == ["engine", "log"]
    place.channel.leave(outbox)
    place.channel.changed()
    place.channel.line("after")
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert (outbox.empty, waiting(other)) == (True, ["engine", "log"])
    # It has left already.
    place.channel.leave(outbox)


async def test_a_flood_of_lines_is_bounded_and_counted(place: Place) -> None:
    """One message waits, the newest lines behind it; dropped lines are reported and counted, and never costs the socket."""
    outbox = Outbox()
    place.channel.join(outbox)
    place.channel.line("first")
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert waiting(outbox) == ["engine", "log"]
    for number in range(MAX_LINES * 3):
        place.channel.line(f"{number} " + "\U0001f600" * 1000)
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert waiting(outbox) == ["engine", "log"]
    assert outbox.size < MAX_BYTES
    reader = outbox.attach()
    await told(reader, "engine")
    assert (await told(reader, "log"))["lines"] == ["first"]
    rest = await told(reader, "log")
    assert len(rest["lines"]) == MAX_LINES
    assert rest["dropped"] == place.dropped == MAX_LINES * 2
    assert rest["lines"][-1].startswith(f"{MAX_LINES * 3 - 1} ")
    assert {len(line) for line in rest["lines"]} == {MAX_LINE_CHARS}
    assert not outbox.overflowed


async def test_lines_are_text(place: Place) -> None:
    """Characters that would move a terminal's cursor, or break a line, become spaces."""
    outbox = Outbox()
    place.channel.line("\x1b[31mred\x1b[0m\r50%\u2028next")
    place.channel.join(outbox)
    reader = outbox.attach()
    await told(reader, "engine")
    assert (await told(reader, "log"))["lines"] == [" [31mred [0m 50% next"]

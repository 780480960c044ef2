"""Operators' sockets get state and lines, bounded, and no other socket does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.core.messages import EngineReport
from server.core.metrics import Metrics
from server.session.operator_feed import LOG_SECONDS, MAX_LINE_CHARS, MAX_LINES, OperatorDesk
from server.session.request.outbox import MAX_BYTES, Outbox, Reader

pytestmark = pytest.mark.asyncio


class Desk:
    def __init__(self) -> None:
        self.state = "idle"
        self.metrics = Metrics("test")
        self.desk = OperatorDesk(lambda: EngineReport(state=self.state), self.metrics)

    @property
    def dropped(self) -> float:
        text = self.metrics.render().decode()
        line = next(n for n in text.splitlines() if n.startswith("qwen_camera_log_lines_dropped_t"))
        return float(line.split()[1])


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Desk]:
    one = Desk()
    yield one
    one.desk.close()


def waiting(outbox: Outbox) -> list[str]:
    return [entry.message.model_dump()["type"] for entry in outbox._waiting]


async def told(reader: Reader, type: str) -> dict[str, Any]:
    """The next message, which has this type."""
    async with asyncio.timeout(2):
        message: dict[str, Any] = json.loads(await reader.get())
    assert message["type"] == type
    return message


async def test_who_joins_hears_how_it_stands_and_what_comes(place: Desk) -> None:
    """First the state and the last lines, then each change and each line."""
    place.desk.line("before")
    outbox = Outbox()
    place.desk.join("socket", outbox)
    reader = outbox.attach()
    assert (await told(reader, "engine"))["state"] == "idle"
    assert (await told(reader, "log"))["lines"] == ["before"]
    place.state = "loading"
    place.desk.changed()
    place.desk.line("one")
    place.desk.line("two\n")
    assert (await told(reader, "engine"))["state"] == "loading"
    assert await told(reader, "log") == {"type": "log", "lines": ["one", "two"], "dropped": 0}


async def test_nobody_else_hears_anything(place: Desk) -> None:
    """Not before joining, not after leaving; and what waited for one that left goes to no other socket of its session."""
    outbox = Outbox()
    place.desk.changed()
    place.desk.line("before")
    assert outbox.empty
    place.desk.join("socket", outbox)
    assert waiting(outbox) == ["engine", "log"]
    assert outbox.operator
    place.desk.leave("socket")
    # From now on it gets visitors' texts again.
    assert not outbox.operator
    place.desk.changed()
    place.desk.line("after")
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert outbox.empty
    assert len(place.desk) == 0


async def test_an_older_socket_that_ends_takes_nothing_from_the_newer_one(place: Desk) -> None:
    """Both are of one session, which has one outbox."""
    outbox = Outbox()
    place.desk.join("old", outbox)
    place.desk.join("new", outbox)
    place.desk.leave("old")
    assert waiting(outbox) == ["engine"]
    place.desk.leave("new")
    assert outbox.empty


async def test_when_another_socket_reads_nothing_waits_there(place: Desk) -> None:
    """Whoever opens the next socket of an operator's session has not brought the token."""
    outbox, other = Outbox(), Outbox()
    place.desk.line("before")
    for socket in ("one", "two"):
        place.desk.join(socket, outbox)
    place.desk.join("other", other)
    place.desk.dismiss(outbox)
    assert outbox.empty
    place.desk.changed()
    assert (outbox.empty, waiting(other)) == (True, ["engine", "log"])
    # It is dismissed already.
    place.desk.leave("one")
    assert len(place.desk) == 1


async def test_a_flood_of_lines_is_bounded_and_counted(place: Desk) -> None:
    """One message waits, the newest lines behind it; dropped lines are reported and counted, and never costs the socket."""
    outbox = Outbox()
    place.desk.join("socket", outbox)
    place.desk.line("first")
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert waiting(outbox) == ["engine", "log"]
    for number in range(MAX_LINES * 3):
        place.desk.line(f"{number} " + "\U0001f600" * 1000)
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


async def test_lines_are_text(place: Desk) -> None:
    """Characters that would move a terminal's cursor, or break a line, become spaces."""
    outbox = Outbox()
    place.desk.line("\x1b[31mred\x1b[0m\r50%\u2028next")
    place.desk.join("socket", outbox)
    reader = outbox.attach()
    await told(reader, "engine")
    assert (await told(reader, "log"))["lines"] == [" [31mred [0m 50% next"]

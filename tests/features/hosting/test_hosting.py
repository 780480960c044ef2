"""A model that no feature runs is refused with a sentence, and a preview says where pictures go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from config import load
from server.app.app import build
from server.core.errors import BadRequest
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.command import build_command
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import Ability, Catalogue, Model, ModelType, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.catalogue.machine import Host, HostGpu, Vendor, summarise_machine
from server.features.hosting.hosting import (
    LOG_SECONDS,
    MAX_LINE_CHARS,
    MAX_LINES,
    Hosting,
    OperatorChannel,
    build_report,
    list_errors,
    list_models,
)
from server.features.hosting.messages import Answering, EngineReport
from server.features.hosting.runtime import Plan
from server.features.hosting.status import ManagerState, ManagerStatus
from server.session.request.outbox import MAX_BYTES, Outbox, Reader
from tests.support.engine_plans import model


@pytest.fixture
def hosting() -> Iterator[Hosting]:
    """With no other feature on."""
    program = build(load(None, features="hosting", engine="local", operator_token="t" * 20))
    try:
        yield program.added.provided[Hosting]
    finally:
        program.pools.close()


@pytest.mark.parametrize(
    ("chosen", "feature"),
    [
        (model("answers"), "local_models"),
        (model("video", ModelType.VIDEO, Ability.TEXT_TO_VIDEO), "generation"),
    ],
)
async def test_what_another_feature_runs(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch, chosen: Model, feature: str
) -> None:
    choice = Choice(model=chosen.id, mode=RunMode.IN_PROCESS)
    plan = Plan(choice, Launch(("python",), {}, "python"), chosen)
    monkeypatch.setattr(hosting.planner, "plan", lambda *_: plan)
    with pytest.raises(BadRequest) as caught:
        await hosting.manager.preview(choice)
    assert f"needs the feature {feature}." in caught.value.message
    assert "Add it to FEATURES" in caught.value.message


async def test_a_preview_says_where_pictures_go(
    hosting: Hosting, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = Choice(mode=RunMode.REMOTE, url="https://192.0.2.7/v1")
    near = Launch(("x",), {}, "x", base_url="http://127.0.0.1:1/v1", warnings=("Mind.",))
    launches = iter((build_command(choice, None, Host()), near))
    monkeypatch.setattr(hosting.planner, "plan", lambda *_: Plan(choice, next(launches)))
    told = await hosting.preview(choice)
    assert told["elsewhere"] == "192.0.2.7"
    assert "192.0.2.7" in told["command"]
    told = await hosting.preview(choice)
    assert told == {"command": "x", "elsewhere": "", "warnings": ["Mind."]}


# Operators' sockets get state and lines, bounded, and no other socket does


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
    place.channel.add_line("before")
    outbox = Outbox()
    place.channel.join(outbox)
    reader = outbox.attach()
    assert (await told(reader, "engine"))["state"] == "idle"
    assert (await told(reader, "log"))["lines"] == ["before"]
    place.state = "loading"
    place.channel.publish_report()
    place.channel.add_line("one")
    place.channel.add_line("two\n")
    assert (await told(reader, "engine"))["state"] == "loading"
    assert await told(reader, "log") == {"type": "log", "lines": ["one", "two"], "dropped": 0}


async def test_nobody_else_hears_anything(place: Place) -> None:
    """Not before joining, not after leaving; and what waited for one that left goes to no other socket of its session."""
    outbox, other = Outbox(), Outbox()
    place.channel.publish_report()
    place.channel.add_line("before")
    assert outbox.empty
    for one in (outbox, other):
        place.channel.join(one)
    assert waiting(outbox) == ["engine", "log"]
    place.channel.leave(outbox)
    place.channel.publish_report()
    place.channel.add_line("after")
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert (outbox.empty, waiting(other)) == (True, ["engine", "log"])
    # It has left already.
    place.channel.leave(outbox)


async def test_a_flood_of_lines_is_bounded_and_counted(place: Place) -> None:
    """One message waits, the newest lines behind it; dropped lines are reported and counted, and never costs the socket."""
    outbox = Outbox()
    place.channel.join(outbox)
    place.channel.add_line("first")
    await asyncio.sleep(LOG_SECONDS * 1.5)
    assert waiting(outbox) == ["engine", "log"]
    for number in range(MAX_LINES * 3):
        place.channel.add_line(f"{number} " + "\U0001f600" * 1000)
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
    place.channel.add_line("\x1b[31mred\x1b[0m\r50%\u2028next")
    place.channel.join(outbox)
    reader = outbox.attach()
    await told(reader, "engine")
    assert (await told(reader, "log"))["lines"] == [" [31mred [0m 50% next"]


# The messages and sentences that the operator's panel shows


GPU = HostGpu(Vendor.NVIDIA, "Some GPU", 24_000_000_000, 20_500_000_000)


def test_loading_is_told_with_phase_percent_and_bytes() -> None:
    progress = LoadProgress("loading weights", 41.6667, 5, 12)
    status = ManagerStatus(
        ManagerState.LOADING,
        "a/b",
        ModelType.VISION,
        RunMode.CONTAINER,
        progress,
        shown="run",
        error="why",
    )
    told = build_report(status, True).model_dump(exclude_none=True)
    assert told["progress"] == {
        "phase": "loading weights",
        "percent": 41.7,
        "done_bytes": 5,
        "total_bytes": 12,
    }
    assert (told["model"], told["model_type"], told["mode"]) == ("a/b", "vision", "container")
    assert (told["command"], told["error"]) == ("run", "why")
    assert told["answers"]


def test_every_model_has_every_way_with_a_reason_for_each_no() -> None:
    """On a machine that has nothing, too; the folder's path stays on the server."""
    models = [model.with_folder(Path("/srv/secret")) for model in Catalogue.load()]
    for host in (Host(), Host(gpus=(GPU,), sandboxed=True)):
        rows = list_models(models, host)
        assert [row["id"] for row in rows] == [model.id for model in models]
        for row in rows:
            assert [way["mode"] for way in row["modes"]] == [
                *("in_process", "subprocess", "container", "remote")
            ]
            assert all(way["ok"] or way["reason"] for way in row["modes"])
        assert "/srv/secret" not in str(rows)
    rows = list_models(models, Host(), best=models[1])
    assert [row["id"] for row in rows if row["recommended"]] == [models[1].id]


def test_troubles_are_few() -> None:
    catalogue = Catalogue.load()
    assert list_errors(catalogue) == []
    assert list_errors(catalogue.with_local([], ["One."])) == ["One."]
    many = list_errors(catalogue.with_local([], [f"{n}." for n in range(50)]))
    assert many[:6] == ["0.", "1.", "2.", "3.", "4.", "5."]
    assert many[6:] == ["44 more folders contain no usable model."]


def test_the_machine_in_a_sentence() -> None:
    assert summarise_machine(Host()) == "This machine: No GPU."
    host = Host(gpus=(GPU,), ram_total_bytes=64 * 10**9, ram_free_bytes=41 * 10**9, sandboxed=True)
    assert summarise_machine(host) == (
        "This machine: Some GPU (20 GB free); 41 GB of 64 GB of memory free; in systemd's sandbox."
    )


def test_what_answers_is_told() -> None:
    vllm = Answering(engine="vllm", model="Qwen", server="vLLM", where="192.0.2.7:8001")
    told = build_report(ManagerStatus(), False, vllm, "why").model_dump(exclude_none=True)
    assert told["answering"] == vllm.model_dump()
    assert told["why"] == "why"
    assert "answering" not in build_report(ManagerStatus(), False).model_dump(exclude_none=True)

"""From one model to another, here and elsewhere; keys of servers elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from config import load
from server.app.app import build
from server.core.errors import EngineFailed
from server.features.hosting.catalogue.choice import Choice, CommandError
from server.features.hosting.catalogue.command import build_command
from server.features.hosting.catalogue.entry import RunMode
from server.features.hosting.catalogue.machine import Host
from server.features.hosting.hosting import Hosting, build_report
from server.features.hosting.planner import find_port
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime
from server.features.hosting.server_runtime import RemoteRuntime
from server.features.hosting.status import ManagerState, ManagerStatus
from server.models.base import Chunk, Delta
from server.models.thinking import ThinkingLimits
from tests.features.hosting.test_manager import ask, asking
from tests.support.clients import soon
from tests.support.engine_plans import Managed, choice, managed, plan, stand_in
from tests.support.fakes import make_request
from tests.support.fakes_openai import Behaviour, FakeOpenAI

KEY = "canary-key-of-the-remote-4711"


def remote(server: FakeOpenAI | str, **more: str) -> Choice:
    url = server if isinstance(server, str) else server.base_url
    return Choice.read({"mode": "remote", "url": url, **more})


def planned(chosen: Choice) -> Plan:
    if chosen.mode is RunMode.REMOTE:
        return Plan(chosen, build_command(chosen, None, Host()))
    return plan(chosen)


def loaded(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
    if chosen.choice.mode is RunMode.REMOTE:
        key = chosen.choice.api_key.get_secret_value()
        return RemoteRuntime(chosen, api_key=key, thinking=ThinkingLimits(), machines={})
    return stand_in(chosen, on_line, on_progress)


def switching() -> AbstractAsyncContextManager[Managed]:
    return managed(planner=planned, loader=loaded)


async def ready_with(one: Managed, chosen: Choice) -> ManagerStatus:
    status = await one.ready(chosen)
    await soon(lambda: one.engines.current is one.manager.active)
    return status


def words(chunks: list[Chunk]) -> int:
    return len([chunk for chunk in chunks if isinstance(chunk, Delta)])


async def test_from_here_to_a_server_elsewhere_and_back() -> None:
    """The one before is stopped first, and its answer ends with the reason."""
    async with FakeOpenAI() as server, switching() as one:
        await ready_with(one, choice("serve"))
        pid = one.pid()
        _, task = await asking(one)
        status = await ready_with(one, remote(server))
        with pytest.raises(EngineFailed, match="serve was stopped by an operator in mid-answer"):
            await task
        assert status.model == "fake-vl"
        assert not Path(f"/proc/{pid}").exists()
        got: list[Chunk] = []
        await ask(one, got)
        assert server.count == 1
        assert (await ready_with(one, choice("serve"))).model == "tests/serve"


async def test_a_model_that_cannot_be_loaded_gives_the_place_back() -> None:
    """The one before is loaded again, and the state says so; stopped, there is nothing to go back to."""
    async with switching() as one:
        await ready_with(one, choice("serve"))
        url = f"http://127.0.0.1:{find_port(None)}/v1"
        for chosen, why in ((choice("oom"), "The GPU's memory is full."), (remote(url), url)):
            back = await one.ready(chosen)
            assert back.model == "tests/serve"
            assert why in back.error
            assert back.error.endswith("serve, which worked before, is loaded again.")
        await soon(lambda: one.engines.current is one.manager.active)
        # By way of one that was given up
        await one.manager.start(choice("slow"))
        await soon(lambda: one.manager.get_status().model == "tests/slow")
        assert (await one.ready("raises")).model == "tests/serve"
        await one.manager.stop()
        assert "which worked before" not in await one.fails("oom")


async def test_where_the_one_before_does_not_come_back_either() -> None:
    tries: list[str] = []

    def loader(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        tries.append(chosen.name)
        if tries.count("serve") > 1:
            chosen = plan(choice("raises"))
        return stand_in(chosen, on_line, on_progress)

    async with managed(planner=planned, loader=loader) as one:
        await ready_with(one, choice("serve"))
        error = await one.fails("oom")
        assert tries == ["serve", "oom", "serve"]
        assert "The GPU's memory is full." in error
        assert "what nobody has seen before" in error
        assert one.engines.current is one.spare


async def test_stopping_while_a_server_elsewhere_loads() -> None:
    async with FakeOpenAI() as server, switching() as one:
        server.behaviour = Behaviour.LOADING
        await one.manager.start(remote(server))
        await asyncio.sleep(0.2)
        assert (await one.manager.stop()).state is ManagerState.IDLE
        assert one.engines.current is one.spare


async def test_things_that_may_be_wrong_are_a_sentence_each() -> None:
    found: list[str] = []
    async with FakeOpenAI(api_key=KEY, model="their/model") as server, switching() as one:
        for chosen in (remote(server), remote(server, api_key="wrong")):
            found.append(await one.fails(chosen))
    wanted = (
        "requires an API key. Enter the key that it was started with.",
        "refuses the given API key.",
    )
    for sentence in wanted:
        assert [sentence in one for one in found].count(True) == 1, (sentence, found)
    assert "VLLM_" not in str(found)


async def test_a_key_is_given_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    """It opens the server, and stands in no status, line, log, preview or text of a choice."""
    caplog.set_level(logging.DEBUG)
    async with FakeOpenAI(api_key=KEY) as server, switching() as one:
        chosen = remote(server, api_key=KEY)
        launch = await one.manager.preview(chosen)
        await ready_with(one, chosen)
        got: list[Chunk] = []
        async for chunk in one.manager.active.answer(make_request()):
            got.append(chunk)
        assert words(got)
        told = [build_report(status, True).encode() for status in one.seen]
        everything = [
            *told,
            *one.lines,
            repr(one.seen),
            repr(one.plan()),
            repr(launch),
            caplog.text,
        ]
        everything += [json.dumps(chosen.model_dump(mode="json")), str(chosen)]
        assert not [text for text in everything if KEY in text]


@pytest.mark.parametrize("bad", ["two words", "line\nbreak", "kéy", "x" * 501, 7])
def test_a_key_that_cannot_be_sent(bad: object) -> None:
    with pytest.raises(CommandError) as caught:
        Choice.read({"mode": "remote", "url": "http://192.0.2.7/v1", "api_key": bad})
    assert caught.value.message.startswith("api_key is unusable. Allowed: a key without spaces")
    with pytest.raises(CommandError, match="accepts no api_key"):
        Choice.read({"mode": "in_process", "model": "small", "api_key": "k"})


def test_a_key_is_kept_for_its_server_alone() -> None:
    settings = load(env_file=None, engine="builtin", vllm_api_key="of-the-settings")
    program = build(settings)
    try:
        room: Hosting = program.added.provided[Hosting]
        key = room.get_key
        assert key(remote("http://192.0.2.7/v1")) == ""
        assert key(remote("http://192.0.2.7/v1", api_key="one")) == "one"
        assert key(remote("http://192.0.2.7/v1")) == "one"
        assert key(remote("http://192.0.2.8/v1")) == ""
        assert key(remote(settings.vllm_base_url)) == "of-the-settings"
        assert key(remote(settings.vllm_base_url, api_key="two")) == "two"
        for number in range(40):
            key(remote(f"http://192.0.2.9:{number + 1}/v1", api_key="k"))
        assert len(room._keys) == 16
        assert key(remote("http://192.0.2.7/v1")) == ""
    finally:
        program.pools.close()

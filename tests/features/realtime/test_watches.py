"""The server's own tool for watches, and alerts as responses that the server begins."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from scripts.bench.live_encoder import LiveEncoder
from server.features.watches.rule import Firing
from server.features.watches.watching import Watching
from tests.features.grants.test_routes import serving_programs
from tests.features.realtime.test_realtime import LAMP, Desk, ask, say, until
from tests.support.clients import soon, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.guides import blocks, out_of, text_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAMERA: Any = {"type": "mcp", "server_label": "camera"}
WATCH = {"name": "watch_add", "arguments": '{"condition": "the kettle boils"}'}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(encoder: LiveEncoder) -> AsyncIterator[Desk]:
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        serving_programs(fake) as run,
        visitor(run, encoder) as person,
    ):
        yield Desk(run, fake, person)


@pytest_asyncio.fixture(loop_scope="module")
async def desk(shared: Desk) -> Desk:
    shared.fake.behaviour = Behaviour.NORMAL
    shared.fake.deltas_for = lambda _: None
    shared.fake.between_tokens = 0.0
    await shared.renew("look", "watch")
    return shared


def calls_once(body: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Call the tool where it is offered."""
    names = [one["function"]["name"] for one in body.get("tools", [])]
    call = {"index": 0, "id": "c1", "function": WATCH}
    return [{"tool_calls": [call]}] if "watch_add" in names else None


def watching_of(desk: Desk) -> Watching:
    found: Watching = desk.run.program.sessions.find(desk.person.session_id).part("watches")
    return found


def alert(desk: Desk, watch: str) -> None:
    """An alert of this watch, of a moment from now on, so that the access is older."""
    watching = watching_of(desk)
    firing = Firing(watch, "The kettle boils", 1.0, 0.9, "Steam rises.", "f", None)
    watching.alerts.add(watch, firing, at=(time.time() + 1) * 1000, jpeg=None, region=None)


async def watch(connection: AsyncRealtimeConnection, desk: Desk) -> tuple[str, list[Any]]:
    """Let the model add a watch; its id, and the events until the model has said so."""
    desk.fake.deltas_for = calls_once
    await connection.session.update(
        session={"type": "realtime", "tools": [CAMERA, LAMP], "tool_choice": "required"}
    )
    await until(connection, "mcp_list_tools.completed")
    got = await ask(connection, "Tell me when the kettle boils.")
    got += await until(connection, "response.done")
    (added,) = watching_of(desk).watches()
    assert added.condition == "the kettle boils"
    return added.id, got


async def test_the_model_adds_a_watch(desk: Desk) -> None:
    """The server runs the call in the protocol's form for such tools, and the model answers with its result."""
    async with desk.client() as connection:
        _, got = await watch(connection, desk)
        done = [one.response for one in got if one.type == "response.done"]
        assert [one.status for one in done] == ["completed", "completed"]
        (call,) = done[0].output
        assert (call.type, call.name, call.server_label) == ("mcp_call", "watch_add", "camera")
        assert call.output == "Watching for: the kettle boils. Call events to get its alerts."
        assert "response.mcp_call.completed" in [one.type for one in got]
        assert done[1].output[0].content[0].text == "I see a cup."
    last = desk.fake.last.body
    assert last["messages"][-1]["content"] == call.output
    # The second request cannot call it again, so it ends.
    assert [one["function"]["name"] for one in last["tools"]] == ["lamp"]
    assert last.get("tool_choice", "auto") == "auto"


async def test_an_alert_begins_a_response(desk: Desk) -> None:
    """With the alert's words, id and time; after a response that is in progress; of the program's own watches only."""
    async with desk.client() as connection:
        id, _ = await watch(connection, desk)
        count = desk.fake.count
        alert(desk, "a watch of the person")
        alert(desk, id)
        got = await until(connection, "response.done")
        response = got[-1].response
        assert response.metadata["watch"] == id
        assert response.metadata["alert"]
        assert abs(float(response.metadata["captured_at"]) / 1000 - time.time()) < 10
        assert response.output[0].content[0].text == "The kettle boils. Steam rises."
        assert desk.fake.count == count
        desk.fake.between_tokens = 0.3
        await say(connection, "What is it?")
        await connection.response.create()
        await until(connection, "response.output_text.delta")
        alert(desk, id)
        done = [(await until(connection, "response.done"))[-1].response for _ in range(2)]
        assert [one.output[0].content[0].text for one in done] == [
            "I see a cup.",
            "The kettle boils. Steam rises.",
        ]


async def test_watches_need_their_scope(desk: Desk) -> None:
    await desk.renew("look")
    async with desk.client() as connection:
        await connection.session.update(session={"type": "realtime", "tools": [CAMERA]})
        (error,) = await until(connection, "error", "session.updated")
        assert error.error.code == "forbidden"


@pytest.mark.parametrize(
    "server",
    [
        {"server_label": "elsewhere", "server_url": "http://169.254.169.254/"},
        {"server_label": "camera", "server_url": "http://169.254.169.254/"},
        {"server_label": "camera", "connector_id": "connector_gmail"},
    ],
)
async def test_no_other_server_is_asked(desk: Desk, server: dict[str, str]) -> None:
    async with desk.client() as connection:
        update = {"type": "session.update", "session": {"tools": [{"type": "mcp"} | server]}}
        await connection.send_raw(json.dumps(update))
        (error,) = await until(connection, "error", "session.updated")
        assert error.type == "error"
        assert error.error.param.startswith("session.tools[0]")


@pytest.mark.slow
async def test_the_guides_alert(desk: Desk) -> None:
    """The example as it stands."""
    desk.fake.deltas_for = calls_once
    programs = [block for kind, block in blocks(text_of("docs/realtime.md")) if kind == "python"]
    address = {"OPENAI_BASE_URL": f"{desk.run.base_url}/v1", "OPENAI_API_KEY": desk.token}
    printing = asyncio.create_task(out_of(sys.executable, "-c", programs[2], **address))
    await soon(lambda: bool(watching_of(desk).watches()), 60)
    alert(desk, watching_of(desk).watches()[0].id)
    assert (await printing).endswith("The kettle boils. Steam rises.\n")

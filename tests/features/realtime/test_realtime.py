"""OpenAI's own client of the Realtime protocol on the live camera: text, functions, cancelling, and what is refused."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, get_args

import openai
import pytest
import pytest_asyncio
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from scripts.bench.live_encoder import LiveEncoder
from server.features.realtime.events import Event
from server.features.realtime.states import SPOKEN, STATES
from tests.features.grants.test_routes import give, serving_programs
from tests.support.clients import Visitor, bearer, http, soon, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI
from tests.support.guides import blocks, out_of, text_of
from tests.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAMP: Any = {
    "type": "function",
    "name": "lamp",
    "description": "Switch the lamp.",
    "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}},
}


# Events of the server that no response causes
OTHER_EVENTS_OUT = (
    *("error", "session.created", "session.updated", "mcp_list_tools.completed"),
    *(
        f"conversation.item.{name}"
        for name in ("added", "done", "retrieved", "deleted", "truncated")
    ),
    *(f"output_audio_buffer.{name}" for name in ("started", "stopped", "cleared")),
    *(f"input_audio_buffer.speech_{name}" for name in ("started", "stopped")),
    *("input_audio_buffer.committed", "input_audio_buffer.cleared"),
    *(
        f"conversation.item.input_audio_transcription.{name}"
        for name in ("delta", "completed", "failed")
    ),
)


class Desk:
    """A running server with its model server, a person with a live camera, and a program's access."""

    def __init__(self, run: Running, fake: FakeOpenAI, person: Visitor) -> None:
        self.run, self.fake, self.person = run, fake, person
        self.token = self.id = ""

    async def renew(self, *scopes: str) -> None:
        """Give the program a new access with these scopes."""
        own = self.person.token
        async with http(self.run) as client:
            await client.delete("/api/grants", headers=bearer(own))
            made = await give(client, own, scopes=list(scopes))
        self.token, self.id = made["token"], made["id"]

    async def end(self) -> None:
        async with http(self.run, self.person.token) as client:
            await client.delete(f"/api/grants/{self.id}")

    @asynccontextmanager
    async def client(self, base: str = "/v1") -> AsyncIterator[AsyncRealtimeConnection]:
        """OpenAI's client, connected; it has got session.created."""
        sdk = openai.AsyncOpenAI(
            api_key=self.token, base_url=self.run.base_url + base, max_retries=0
        )
        async with sdk.realtime.connect(model="camera", max_retries=0) as connection:
            created = await connection.recv()
            assert created.type == "session.created"
            yield connection
        await sdk.close()

    async def raw(self, token: str = "", **options: Any) -> ClientConnection:
        headers = bearer(token or self.token)
        return await connect(
            f"{self.run.ws_url}/v1/realtime",
            **{"additional_headers": headers, "proxy": None, "max_size": 2**24} | options,
        )


async def until(connection: AsyncRealtimeConnection, *types: str, seconds: float = 15) -> list[Any]:
    """Everything up to the next event of one of these types."""
    found: list[Any] = []
    async with asyncio.timeout(seconds):
        while not found or found[-1].type not in types:
            found.append(await connection.recv())
    return found


async def say(connection: AsyncRealtimeConnection, text: str) -> Any:
    """Add a message of the user; its item."""
    await connection.conversation.item.create(
        item={"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    )
    return (await until(connection, "conversation.item.done"))[-1].item


async def ask(connection: AsyncRealtimeConnection, text: str) -> list[Any]:
    """Ask, and return the events of the response."""
    await say(connection, text)
    await connection.response.create()
    return await until(connection, "response.done")


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
    """The shared desk, with a model server as it was, and a new access."""
    fake = shared.fake
    fake.behaviour, fake.deltas, fake.finish_reason = Behaviour.NORMAL, None, "stop"
    fake.first_token = fake.between_tokens = 0.0
    fake.steps = None
    await shared.renew("look")
    return shared


async def test_a_question_about_now(desk: Desk) -> None:
    """Deltas in order, the picture of a moment after the request, usage, and the look on the person's page."""
    async with desk.client() as connection:
        await connection.session.update(
            session={"type": "realtime", "instructions": "Answer in one word."}
        )
        (updated,) = await until(connection, "session.updated", "error")
        assert updated.session.instructions == "Answer in one word."
        item = await say(connection, "What is it?")
        assert item.content[0].text == "What is it?"
        count, asked = desk.fake.count, time.time()
        await connection.response.create(response={"metadata": {"mine": "1"}})
        got = await until(connection, "response.done")
    assert [one.type for one in got if not one.type.endswith(".delta")] == [
        "response.created",
        "rate_limits.updated",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
    ]
    assert "".join(one.delta for one in got if one.type.endswith(".delta")) == "I see a cup."
    seen = await desk.fake.wait_for(count + 1)
    assert len(seen.jpegs) == 1
    assert "Answer in one word." in str(seen.texts)
    response = got[-1].response
    assert response.status == "completed"
    assert response.output[0].content[0].text == "I see a cup."
    assert response.usage.input_tokens == 640
    assert response.metadata["mine"] == "1"
    assert float(response.metadata["frame_age_ms"]) >= 0
    # Captured after the request: both clocks are this machine's.
    assert asked <= float(response.metadata["captured_at"]) / 1000 <= seen.arrived_wall
    look = await desk.person.page.next("look", state="done", question="What is it?")
    assert look["text"] == "I see a cup."


async def test_each_response_looks_again(desk: Desk) -> None:
    """A second response has a new picture, and the words of the first turn."""
    async with desk.client() as connection:
        first = (await ask(connection, "What is it?"))[-1].response.metadata
        count = desk.fake.count
        second = (await ask(connection, "And now?"))[-1].response.metadata
    assert first["picture_id"] != second["picture_id"]
    assert float(second["captured_at"]) > float(first["captured_at"])
    seen = await desk.fake.wait_for(count + 1)
    assert [
        text for _, text in seen.texts if text in ("What is it?", "I see a cup.", "And now?")
    ] == [
        "What is it?",
        "I see a cup.",
        "And now?",
    ]
    assert len(seen.jpegs) == 1


async def test_a_function_is_called_and_answered(desk: Desk) -> None:
    """The client runs the function; its output is part of the next request."""
    function = {"name": "lamp", "arguments": '{"on": true}'}
    desk.fake.deltas = [{"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}]
    desk.fake.finish_reason = "tool_calls"
    async with desk.client() as connection:
        await connection.session.update(session={"type": "realtime", "tools": [LAMP]})
        await until(connection, "session.updated")
        got = await ask(connection, "Switch the lamp on.")
        desk.fake.deltas, desk.fake.finish_reason = None, "stop"
        (call,) = [one for one in got[-1].response.output if one.type == "function_call"]
        assert (call.name, json.loads(call.arguments)) == ("lamp", {"on": True})
        done = [one for one in got if one.type == "response.function_call_arguments.done"]
        assert [one.call_id for one in done] == [call.call_id]
        await connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "It is on."}
        )
        await until(connection, "conversation.item.done")
        count = desk.fake.count
        await connection.response.create()
        await until(connection, "response.done")
    seen = await desk.fake.wait_for(count + 1)
    roles = [message["role"] for message in seen.body["messages"]]
    assert roles[-2:] == ["assistant", "tool"]
    assert seen.body["tools"][0]["function"]["name"] == "lamp"


async def test_cancelling_stops_the_model(desk: Desk) -> None:
    desk.fake.between_tokens = 30.0
    async with desk.client() as connection:
        await say(connection, "What is it?")
        count = desk.fake.count
        await connection.response.create()
        await until(connection, "response.output_text.delta")
        await connection.response.cancel()
        done = (await until(connection, "response.done"))[-1].response
        assert (done.status, done.status_details.reason) == ("cancelled", "client_cancelled")
        assert done.output[0].status == "incomplete"
        seen = await desk.fake.wait_for(count + 1)
        async with asyncio.timeout(5):
            await seen.done.wait()
        assert seen.closed_early
        # The connection goes on, with the part that was written.
        desk.fake.between_tokens = 0.0
        assert (await ask(connection, "And now?"))[-1].response.status == "completed"


async def test_one_response_at_a_time(desk: Desk) -> None:
    desk.fake.first_token = 30.0
    async with desk.client() as connection:
        await connection.response.cancel()
        (error,) = await until(connection, "error")
        assert error.error.code == "response_cancel_not_active"
        await say(connection, "What is it?")
        await connection.response.create()
        await connection.response.create(event_id="second")
        error = (await until(connection, "error"))[-1].error
        assert (error.code, error.event_id) == (
            "conversation_already_has_active_response",
            "second",
        )


async def test_a_response_outside_the_conversation(desk: Desk) -> None:
    """With its own input, and without a trace in the conversation."""
    async with desk.client() as connection:
        await say(connection, "The secret is 7.")
        count = desk.fake.count
        await connection.response.create(
            response={
                "conversation": "none",
                "input": [
                    {
                        "type": "message",
                        "role": "user",
                        "content": [{"type": "input_text", "text": "Any cups?"}],
                    }
                ],
            }
        )
        got = await until(connection, "response.done")
        assert not [one for one in got if one.type.startswith("conversation.")]
        assert got[-1].response.conversation_id is None
    seen = await desk.fake.wait_for(count + 1)
    assert "Any cups?" in str(seen.texts)
    assert "secret" not in str(seen.texts)


async def test_items_are_placed_retrieved_and_deleted(desk: Desk) -> None:
    async with desk.client() as connection:
        first = await say(connection, "one")
        await connection.conversation.item.create(
            previous_item_id="root",
            item={
                "id": "mine",
                "type": "message",
                "role": "system",
                "content": [{"type": "input_text", "text": "zero"}],
            },
        )
        added = (await until(connection, "conversation.item.done"))[-1]
        assert (added.item.id, added.previous_item_id) == ("mine", None)
        await connection.conversation.item.retrieve(item_id="mine")
        (found,) = await until(connection, "conversation.item.retrieved")
        assert found.item.content[0].text == "zero"
        await connection.conversation.item.delete(item_id=first.id)
        await until(connection, "conversation.item.deleted")
        await connection.conversation.item.retrieve(item_id=first.id)
        (error,) = await until(connection, "error")
        assert error.error.code == "not_found"


IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AAAA"}
USER = {"type": "message", "role": "user"}
REFUSED: list[tuple[str, Any, str]] = [
    ("no JSON", '{"type": "resp', "invalid_json"),
    ("a list", "[]", "invalid_value"),
    ("an unknown event", {"type": "no.such"}, "invalid_value"),
    ("no type", {"event_id": "e"}, "invalid_value"),
    ("a picture", {"type": "conversation.item.create", "item": USER | {"content": [IMAGE]}}, "upload_refused"),
    ("a picture in the input", {"type": "response.create", "response": {"input": [USER | {"content": [IMAGE]}]}}, "upload_refused"),
    ("an unknown model", {"type": "session.update", "session": {"model": "gpt-realtime"}}, "model_not_found"),
    ("sound without its scope", {"type": "session.update", "session": {"output_modalities": ["audio"]}}, "invalid_value"),
    ("a prompt", {"type": "session.update", "session": {"prompt": {"id": "x"}}}, "unknown_parameter"),
    ("a remote schema", {"type": "session.update", "session": {"tools": [LAMP | {"parameters": {"$ref": "http://x/"}}]}}, "bad_request"),
    ("a control token", {"type": "session.update", "session": {"tools": [LAMP | {"description": "<|im_end|>"}]}}, "bad_request"),
    ("another output format", {"type": "session.update", "session": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}}, "invalid_value"),
    ("the output of an unknown call", {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "x"}}, "conflict"),
    ("a number for a text", {"type": "conversation.item.create", "item": USER | {"content": [{"type": "input_text", "text": 7}]}}, "invalid_value"),
    ("a deep item", '{"type": "session.update", "session": {"instructions": ' + "[" * 20_000, "invalid_json"),
]  # fmt: skip


async def test_what_is_refused_ends_nothing(desk: Desk) -> None:
    """Each refusal names its code and the event, repeats nothing, and the same connection still answers."""
    async with desk.client() as connection:
        for what, event, code in REFUSED:
            given = event if isinstance(event, str) else json.dumps(event | {"event_id": "mine"})
            await connection.send_raw(given)
            (error,) = await until(connection, "error", "session.updated", "response.created")
            assert error.type == "error", what
            assert error.error.code == code, what
            if not isinstance(event, str):
                assert error.error.event_id == "mine", what
            assert 'im_end|>"' not in error.error.message
        assert (await ask(connection, "What is it?"))[-1].response.status == "completed"


async def test_a_failed_response_ends_as_the_protocol_says(desk: Desk) -> None:
    desk.fake.behaviour = Behaviour.DIES
    async with desk.client() as connection:
        done = (await ask(connection, "What is it?"))[-1].response
        assert done.status == "failed"
        assert done.status_details.error.code
        desk.fake.behaviour = Behaviour.NORMAL
        assert done.output[0].status == "incomplete"


async def test_who_gets_in(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """By header, by a browser's subprotocol, by the session's address; nobody else, and not a person's own token."""
    caplog.set_level("ERROR")
    async with desk.client(f"/at/{desk.person.session_id}/v1"):
        pass
    key = Subprotocol(f"openai-insecure-api-key.{desk.token}")
    browser = await desk.raw(subprotocols=[Subprotocol("realtime"), key], additional_headers={})
    assert browser.subprotocol == "realtime"
    assert json.loads(await browser.recv())["type"] == "session.created"
    await browser.close()
    for token in ("wrong", desk.person.token):
        with pytest.raises(InvalidStatus) as refused:
            await desk.raw(token)
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"
    with pytest.raises(InvalidStatus) as refused:
        await desk.raw(origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403
    assert not caplog.records
    await desk.renew("watch", "events")
    with pytest.raises(InvalidStatus) as refused:
        await desk.raw()
    assert refused.value.response.status_code == 403


async def test_a_third_socket_is_refused(desk: Desk) -> None:
    async with desk.client(), desk.client():
        with pytest.raises(InvalidStatus) as refused:
            await desk.raw()
        assert refused.value.response.status_code == 429
    async with desk.client():
        pass


async def test_the_end_of_the_access_ends_the_socket(desk: Desk) -> None:
    """At once, with its running response and the model's work."""
    desk.fake.between_tokens = 30.0
    socket = await desk.raw()
    count = desk.fake.count
    await socket.send(json.dumps({"type": "response.create"}))
    seen = await desk.fake.wait_for(count + 1)
    await desk.end()
    async with asyncio.timeout(5):
        await socket.wait_closed()
        await seen.done.wait()
    assert socket.close_code == 4401
    assert seen.closed_early


async def test_leaving_stops_the_model(desk: Desk) -> None:
    desk.fake.first_token = 30.0
    socket = await desk.raw()
    count = desk.fake.count
    await socket.send(json.dumps({"type": "response.create"}))
    seen = await desk.fake.wait_for(count + 1)
    socket.transport.abort()
    async with asyncio.timeout(5):
        await seen.done.wait()
    assert seen.closed_early


async def test_a_closed_page_refuses_pictures(desk: Desk) -> None:
    async with desk.client() as connection:
        await desk.person.page.close()
        sessions = desk.run.program.sessions
        await soon(lambda: sessions.find(desk.person.session_id).socket is None)
        count = desk.fake.count
        done = (await ask(connection, "What is it?"))[-1].response
        assert (done.status, done.status_details.error.code) == ("failed", "page_closed")
        assert desk.fake.count == count
        await desk.person.reconnect(close=False)
        assert (await ask(connection, "What is it?"))[-1].response.status == "completed"


async def test_the_guide_lists_all_events() -> None:
    """Each event of the subset stands in a table of the guide, and no other one."""
    guide = text_of("docs/realtime.md")
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \|$", guide, re.MULTILINE)
    rows = [row for row in rows if "." in row[0]]
    kinds = [get_args(kind.model_fields["type"].annotation) for kind in Event.__subclasses__()]
    assert dict(rows) == {name: "yes" for names in kinds for name in names}
    out = guide.partition("The server sends:")[2].partition("## Fields")[0]
    cells = re.findall(r"^\| (`.*?) \|", out, re.MULTILINE)
    names = re.findall(r"`([\w.]+)`", "".join(cells))
    steps = [*(names for _, names in STATES.values()), *SPOKEN.values()]
    assert set(names) == {name for names in steps for name in names}.union(OTHER_EVENTS_OUT)


@pytest.mark.slow
async def test_the_guides_conversation(desk: Desk) -> None:
    """The example as it stands."""
    program = next(block for kind, block in blocks(text_of("docs/realtime.md")) if kind == "python")
    address = {"OPENAI_BASE_URL": f"{desk.run.base_url}/v1", "OPENAI_API_KEY": desk.token}
    printed = await out_of(sys.executable, "-c", program, **address)
    assert printed.count("I see a cup.") == 2
    assert printed.count("'picture_id'") == 2

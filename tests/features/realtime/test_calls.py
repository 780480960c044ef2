"""Calls: a camera, a microphone and a data channel in one offer, without a page."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiortc import RTCPeerConnection

from scripts.bench.live_encoder import LiveEncoder
from scripts.bench.voice_peer import VoicePeer
from tests.features.grants.test_routes import give, serving_programs
from tests.features.realtime.test_realtime import LAMP
from tests.support.clients import bearer, http, page_of, soon, take_token, visitor
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS = "/v1/realtime/calls"
OPERATOR, KEY = "o" * 20, "k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i"
CODE = "the code"


class Refused(Exception):
    def __init__(self, reply: httpx.Response) -> None:
        super().__init__(reply.text)
        self.reply = reply


class Caller(VoicePeer):
    """A program with a camera, a microphone and a data channel."""

    def __init__(
        self, run: Running, encoder: LiveEncoder, key: str = "", label: str = "oai-events"
    ) -> None:
        super().__init__(run.base_url, encoder)
        self.run, self.key, self.label = run, key, label
        # So that no token is asked for
        self.token = "none"
        # The settings of a form; None for the offer alone
        self.form: dict[str, Any] | None = None
        self.query = ""
        self.reply: httpx.Response | None = None
        self.pc: RTCPeerConnection | None = None
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.closed = asyncio.Event()

    def add_media(self, pc: RTCPeerConnection) -> None:
        super().add_media(pc)
        self.pc = pc
        self.channel = pc.createDataChannel(self.label)
        self.channel.on("message", lambda text: self.events.put_nowait(json.loads(text)))
        self.channel.on("close", self.closed.set)

    async def send_offer(self, sdp: str) -> str:
        headers = bearer(self.key) if self.key else {}
        async with http(self.run) as client:
            if self.form is None:
                headers["Content-Type"] = "application/sdp"
                self.reply = await client.post(CALLS + self.query, content=sdp, headers=headers)
            else:
                parts = {"sdp": (None, sdp), "session": (None, json.dumps(self.form))}
                self.reply = await client.post(CALLS + self.query, files=parts, headers=headers)
        if self.reply.status_code != 201:
            raise Refused(self.reply)
        return self.reply.text

    async def end_camera(self) -> None:
        """Nothing: the call ends with its connection."""

    def emit(self, type: str, **fields: Any) -> None:
        self.channel.send(json.dumps({"type": type, **fields}))

    async def until(self, *types: str, seconds: float = 15) -> list[dict[str, Any]]:
        """Everything up to the next event of one of these types."""
        found: list[dict[str, Any]] = []
        async with asyncio.timeout(seconds):
            while not found or found[-1]["type"] not in types:
                found.append(await self.events.get())
        return found

    async def question(self, text: str) -> list[dict[str, Any]]:
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        self.emit("conversation.item.create", item=item)
        self.emit("response.create")
        return await self.until("response.done")


@asynccontextmanager
async def calling(
    run: Running, encoder: LiveEncoder, key: str = "", **options: Any
) -> AsyncIterator[Caller]:
    """A call that has got session.created."""
    caller = Caller(run, encoder, key)
    for name, value in options.items():
        setattr(caller, name, value)
    try:
        await caller.connect()
        await caller.until("session.created")
        yield caller
    finally:
        await caller.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(max_model_len=32768) as fake:
        yield fake


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(fake: FakeOpenAI) -> AsyncIterator[Running]:
    async with serving_programs(fake) as run:
        yield run


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed_run(fake: FakeOpenAI) -> AsyncIterator[Running]:
    """A server with an access code and an operator."""
    access = {
        "access_code": CODE,
        "require_auth": True,
        "operator_token": OPERATOR,
        "jwt_secret_key": KEY,
    }
    async with serving_programs(fake, **access) as run:
        yield run


def sessions(run: Running) -> int:
    return len(run.program.sessions)


async def test_a_call_sees_answers_and_ends(
    run: Running, fake: FakeOpenAI, encoder: LiveEncoder
) -> None:
    """An answer about the call's camera, functions, and the end of the session with the connection."""
    async with calling(run, encoder) as caller:
        assert caller.reply is not None
        assert caller.reply.headers["content-type"] == "application/sdp"
        assert caller.reply.headers["location"].startswith(f"{CALLS}/rtc_")
        count = fake.count
        done = (await caller.question("What is it?"))[-1]["response"]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "I see a cup."}]
        assert float(done["metadata"]["frame_age_ms"]) >= 0
        assert len((await fake.wait_for(count + 1)).jpegs) == 1
        function = {"name": "lamp", "arguments": '{"on": true}'}
        fake.deltas = [{"tool_calls": [{"index": 0, "id": "call_1", "function": function}]}]
        caller.emit("session.update", session={"type": "realtime", "tools": [LAMP]})
        await caller.until("session.updated")
        done = (await caller.question("Switch the lamp on."))[-1]["response"]
        fake.deltas = None
        assert [one["name"] for one in done["output"]] == ["lamp"]
        assert sessions(run) == 1
    await soon(lambda: sessions(run) == 0 and len(run.program.webrtc) == 0)


async def test_the_settings_come_with_the_offer(run: Running, encoder: LiveEncoder) -> None:
    async with calling(run, encoder, form={"instructions": "Be short."}) as caller:
        (updated,) = await caller.until("session.updated")
        assert updated["session"]["instructions"] == "Be short."
        assert (await caller.question("What is it?"))[-1]["response"]["status"] == "completed"


async def refused(
    run: Running, encoder: LiveEncoder, key: str = "", **options: Any
) -> tuple[int, str]:
    """Status and code of a refused call."""
    before = sessions(run)
    with pytest.raises(Refused) as error:
        async with calling(run, encoder, key, **options):
            pass
    assert sessions(run) == before
    reply = error.value.reply
    return reply.status_code, reply.json()["error"]["code"]


async def test_who_may_call(closed_run: Running, encoder: LiveEncoder) -> None:
    """With the access code, a new session's token, or an operator's key, each for one call; nobody else."""
    run = closed_run
    wrong = (401, "invalid_api_key")
    assert await refused(run, encoder) == wrong
    assert await refused(run, encoder, "no code") == wrong
    assert await refused(run, encoder, "ek_" + "x" * 40) == wrong
    async with calling(run, encoder, CODE):
        pass
    issued = await take_token(run, access_code=CODE)
    async with http(run) as client:
        path = "/v1/realtime/client_secrets"
        for given in (None, CODE, issued["token"]):
            headers = bearer(given) if given else {}
            assert (await client.post(path, headers=headers)).status_code == 401
        made = (await client.post(path, headers=bearer(OPERATOR))).json()
    for key in (issued["token"], made["value"]):
        async with calling(run, encoder, key) as caller:
            # One call at a time, and one for each key
            assert await refused(run, encoder, key) == (409, "conflict")
            assert (await caller.question("What is it?"))[-1]["response"]["status"] == "completed"
        await soon(lambda: sessions(run) == 0)
        assert (await refused(run, encoder, key))[0] in (401, 404)


async def test_a_required_token(fake: FakeOpenAI, encoder: LiveEncoder) -> None:
    """REQUIRE_AUTH alone asks for a token, which anybody gets."""
    async with serving_programs(fake, require_auth=True, jwt_secret_key=KEY) as run:
        assert await refused(run, encoder, "anything") == (401, "invalid_api_key")
        async with calling(run, encoder, (await take_token(run))["token"]):
            pass


async def test_programs_may_be_off(fake: FakeOpenAI, encoder: LiveEncoder) -> None:
    async with serving_programs(fake, program_looks_per_minute=0) as run:
        assert await refused(run, encoder) == (403, "forbidden")


async def test_a_call_joins_no_session(run: Running, encoder: LiveEncoder) -> None:
    """Neither a page's nor a program's: the camera of the page stays, and its socket hears nothing of the call."""
    async with visitor(run, encoder) as person:
        session = run.program.sessions.find(person.session_id)
        feed = session.camera.feed
        assert await refused(run, encoder, person.token) == (409, "conflict")
        assert session.camera.feed is feed
        async with http(run) as client:
            made = await give(client, person.token, scopes=["look"])
        # A grant is no right to a call; this server needs none, so the call has a session of its own.
        async with calling(run, encoder, made["token"]) as caller:
            await caller.question("What is it?")
        assert not [one for one in await person.page.ponged() if one["type"] == "look"]


async def test_each_channel_has_its_own_session(run: Running, encoder: LiveEncoder) -> None:
    """Two calls at once: items and events of one are not the other's; another channel carries nothing."""
    async with calling(run, encoder) as one, calling(run, encoder) as other:
        assert sessions(run) == 2
        item: dict[str, Any] = {"id": "mine", "type": "message", "role": "user", "content": []}
        one.emit("conversation.item.create", item=item)
        await one.until("conversation.item.done")
        other.emit("conversation.item.retrieve", item_id="mine")
        assert (await other.until("error"))[-1]["error"]["code"] == "not_found"
        assert one.pc is not None
        beside = one.pc.createDataChannel("beside")
        async with asyncio.timeout(10):
            while beside.readyState != "closed":
                if beside.readyState == "open":
                    beside.send(
                        json.dumps({"type": "conversation.item.retrieve", "item_id": "mine"})
                    )
                await asyncio.sleep(0.01)
        second = one.pc.createDataChannel("oai-events")
        await soon(lambda: second.readyState == "closed")
        one.emit("conversation.item.retrieve", item_id="mine")
        # The first event after the item is the answer to this one.
        assert one.events.empty()
        await one.until("conversation.item.retrieved")


async def test_the_page_may_not_close_by_itself(run: Running, encoder: LiveEncoder) -> None:
    """A socket of the call's session replaces the call, which ends."""
    token = await take_token(run)
    async with (
        calling(run, encoder, token["token"]) as caller,
        page_of(run, token["token"], token["session_id"]),
    ):
        async with asyncio.timeout(10):
            await caller.closed.wait()


async def test_the_end_of_the_session_ends_the_call(run: Running, encoder: LiveEncoder) -> None:
    async with calling(run, encoder) as caller:
        (session,) = run.program.sessions.list_visitors()
        await run.program.sessions.end(session.id, "test")
        async with asyncio.timeout(10):
            await caller.closed.wait()
    await soon(lambda: len(run.program.webrtc) == 0)


async def test_an_offer_that_cannot_be_used(run: Running, encoder: LiveEncoder) -> None:
    """It leaves no session: no data channel, too long, no SDP, no form, a file, settings that are none."""

    class Silent(Caller):
        def add_media(self, pc: RTCPeerConnection) -> None:
            """Nothing beside the camera."""

    silent = Silent(run, encoder)
    with pytest.raises(Refused) as error:
        await silent.connect()
    await silent.close()
    assert error.value.reply.status_code == 422
    assert "createDataChannel" in error.value.reply.text
    assert (await refused(run, encoder, form={"prompt": {"id": "x"}}))[0] == 400
    sdp = {"Content-Type": "application/sdp"}
    async with http(run) as client:
        posts: list[tuple[int, dict[str, Any]]] = [
            (422, {"content": "hello", "headers": sdp}),
            (413, {"content": "v=0\r\n" + "a" * 70_000, "headers": sdp}),
            (413, {"content": "a" * 140_000, "headers": sdp}),
            (400, {"content": b"\xff", "headers": sdp}),
            (415, {"json": {"sdp": "v=0"}}),
            (400, {"files": {"session": (None, "{}")}}),
            (400, {"files": {"sdp": ("sdp.txt", "v=0")}}),
            (
                400,
                {
                    "files": {
                        "sdp": (None, "v=0"),
                        "session": (None, '{}, "type": "response.cancel"'),
                    }
                },
            ),
            (400, {"files": [("sdp", (None, "v=0"))] * 50}),
        ]
        for status, post in posts:
            reply = await client.post(CALLS, **post)
            assert reply.status_code == status, (post, reply.text)
            assert reply.json()["error"]["message"]
    assert sessions(run) == 0


async def test_calls_have_limits(fake: FakeOpenAI, encoder: LiveEncoder) -> None:
    """Of sessions, and of requests from one address."""
    limits = {"max_sessions": 1, "rate_limit_per_minute": 4}
    async with serving_programs(fake, **limits) as run, calling(run, encoder):
        assert await refused(run, encoder) == (503, "busy")
        codes = [(await refused(run, encoder))[0] for _ in range(4)]
        assert codes[-1] == 429


async def test_another_machine_is_named(encoder: LiveEncoder) -> None:
    """Pictures go to a model server elsewhere only if the call names it."""
    async with FakeOpenAI(max_model_len=32768) as fake:
        address = fake.base_url.partition("://")[2].partition("/")[0]
        async with serving_programs(fake, engine_machines=f"{address}=gpu.example") as run:
            async with calling(run, encoder, query="?agree=other.example") as caller:
                done = (await caller.question("What is it?"))[-1]["response"]
                assert done["status_details"]["error"]["code"] == "not_confirmed"
                assert '"agree"' in done["status_details"]["error"]["message"]
                assert not fake.requests
            async with calling(run, encoder, query="?agree=gpu.example") as caller:
                done = (await caller.question("What is it?"))[-1]["response"]
                assert done["status"] == "completed"

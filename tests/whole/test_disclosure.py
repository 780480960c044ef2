"""No picture goes to another machine after a change of engines before the person has agreed."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder, Scene
from server.core.errors import EngineUnavailable, NotConfirmed
from server.core.frames import Detail
from server.core.setting_text import get_other_machine
from server.models.base import Capabilities
from server.models.openai.chat_client import Endpoint
from server.models.openai.engine import OpenAIEngine
from server.session.request.parts import Draft, Prepared, View
from tests.features.rooms import parser, room
from tests.support.clients import soon, visitor
from tests.support.fakes import FakeEngine, engine_error
from tests.support.fakes_openai import FakeOpenAI
from tests.support.names import named
from tests.support.rooms import Room
from tests.support.running import running

pytestmark = pytest.mark.asyncio

HOST = "gpu.example.org"


async def ask(one: Room, id: str) -> dict[str, object]:
    one.session.handle(parser().parse(f'{{"type":"chat","content":"What is it?","id":"{id}"}}'))
    await asyncio.sleep(0)
    one.frame()
    while True:
        message = await one.next("response", "error")
        if message.get("id") == id:
            return message


def change(one: Room, engine: FakeEngine) -> None:
    """As the program does it."""
    one.engines.current = engine
    one.session.greet()


def confirm(one: Room, host: str) -> None:
    one.session.handle(parser().parse(f'{{"type":"confirm","host":"{host}"}}'))


async def test_the_engine_of_the_beginning_needs_consent_too() -> None:
    """A session that begins after a restart knows nothing of what its person agreed to."""
    far = FakeEngine(elsewhere=HOST)
    async with room(far) as one:
        one.session.greet()
        ready = await one.next("ready")
        assert (ready["elsewhere"], ready["confirmed"]) == (HOST, False)
        one.camera()
        assert (await ask(one, "q"))["code"] == "not_confirmed"
        assert far.requests == []
        confirm(one, HOST)
        assert (await one.next("ready"))["confirmed"] is True
        assert (await ask(one, "q"))["type"] == "response"


async def test_after_a_change_nothing_goes_before_the_word() -> None:
    """A question is refused with what to do, its picture unseen by the engine; then answered."""
    far = FakeEngine("vllm", elsewhere=HOST)
    async with room() as one:
        one.camera()
        assert (await ask(one, "before"))["type"] == "response"
        change(one, far)
        ready = await one.next("ready")
        assert (ready["elsewhere"], ready["confirmed"]) == (HOST, False)
        refused = await ask(one, "held")
        assert (refused["type"], refused["code"], refused["retryable"]) == (
            "error",
            "not_confirmed",
            True,
        )
        # The message contains the exact text to send.
        said = re.search(r"\{.*\}", str(refused["message"]))
        assert said is not None
        assert json.loads(said[0]) == {"type": "confirm", "host": HOST}
        assert far.requests == []
        confirm(one, HOST)
        assert (await one.next("ready"))["confirmed"] is True
        assert (await ask(one, "after"))["type"] == "response"
        assert far.questions() == ["What is it?"]


async def test_once_for_each_machine() -> None:
    """Back to this machine and there again nobody is asked anew; another machine asks anew."""
    far, farther = FakeEngine(elsewhere=HOST), FakeEngine(elsewhere="other.example.org")
    async with room() as one:
        one.camera()
        change(one, far)
        confirm(one, HOST)
        change(one, one.engine)
        change(one, far)
        assert (await ask(one, "a"))["type"] == "response"
        change(one, farther)
        assert (await ask(one, "b"))["type"] == "error"
        assert farther.requests == []


async def test_a_word_for_another_machine_opens_nothing() -> None:
    """Only the machine that was named may get pictures, also one that was named before it was there."""
    far = FakeEngine(elsewhere=HOST)
    async with room() as one:
        one.camera()
        change(one, far)
        confirm(one, "gpu.example.com")
        assert (await ask(one, "q"))["code"] == "not_confirmed"
        assert far.requests == []
        change(one, one.engine)
        confirm(one, HOST)
        change(one, far)
        assert (await ask(one, "r"))["type"] == "response"


async def test_a_description_waits_and_goes_on() -> None:
    """Its frames go nowhere meanwhile, one message says so, and it goes on by itself."""
    far = FakeEngine("vllm", elsewhere=HOST)
    async with room() as one:
        one.camera()
        one.session.handle(parser().parse('{"type":"settings","describe":true,"sample_rate":30}'))
        one.frame()
        await one.next("response")
        change(one, far)
        now = time.monotonic()
        for number in range(5):
            one.frame(captured=now + 0.5 * number, scene=number)
            await asyncio.sleep(0.01)
        told = [m for m in await one.rest() if m["type"] == "error"]
        assert [m["code"] for m in told] == ["not_confirmed"]
        assert far.requests == []
        # Nor is anything prepared for it.
        failed = 'inferences_total{kind="describe",result="error"}'
        assert failed not in one.services.metrics.render().decode()
        confirm(one, HOST)
        one.frame(captured=now + 5, scene=9)
        assert (await one.next("response"))["engine"] == "vllm"


async def test_falling_back_asks_as_well() -> None:
    """An engine that fails is not replaced by one on another machine behind the person's back."""
    failing = FakeEngine(fail_at=0, fail_with=engine_error(EngineUnavailable))
    far = FakeEngine("vllm", elsewhere=HOST)
    async with room(failing) as one:
        one.camera()
        one.engines.spares.append(far)
        assert (await ask(one, "q"))["code"] == "not_confirmed"
        assert far.requests == []


async def test_an_engine_that_takes_over_while_a_question_waits() -> None:
    """The last look is made when the picture is about to go, not when the question came."""
    far = FakeEngine("vllm", elsewhere=HOST)
    async with room() as one:
        one.camera()
        one.session.handle(parser().parse('{"type":"chat","content":"What is it?","id":"q"}'))
        await asyncio.sleep(0)
        one.engines.current = far
        one.frame()
        assert (await one.next("error"))["code"] == "not_confirmed"
        assert far.requests == []


async def test_each_picture_is_checked_as_it_goes() -> None:
    """Also that of a question which was queued while this machine's engine answered."""
    far = FakeEngine("vllm", elsewhere=HOST)
    async with room() as one:
        one.camera()
        requests = one.session.requests
        view = View(one.frame(), Detail.LOW, None)
        picture = await requests.prepare(view, far.status.capabilities)
        draft, ready = (
            Draft(question="What is it?", view=view),
            Prepared(picture, Capabilities()),
        )
        with pytest.raises(NotConfirmed):
            requests.request(draft, far, ready)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://127.0.0.1:8001/v1", ""),
        ("http://127.1.2.3/v1", ""),
        ("http://localhost:8001/v1", ""),
        ("http://LOCALHOST./v1", ""),
        ("http://models.localhost/v1", ""),
        ("http://[::1]:8001/v1", ""),
        ("http://[::ffff:127.0.0.1]/v1", ""),
        ("http://0.0.0.0:8001/v1", ""),
        ("http://192.0.2.7:8001/v1", "192.0.2.7"),
        ("https://GPU.example.org/v1", HOST),
        ("http://[2001:db8::1]:8001/v1", "2001:db8::1"),
        ("http://localhost.example.org/v1", "localhost.example.org"),
        ("http://user:secret@gpu.example.org/v1", HOST),
    ],
)
async def test_what_is_another_machine(url: str, host: str) -> None:
    """Loopback in all its spellings is this one; of others only the host is shown."""
    assert get_other_machine(url) == host


async def test_an_engine_tells_where_it_is() -> None:
    """Before the first probe, after it, and when it fails."""
    engine = OpenAIEngine("vllm", Endpoint("http://gpu.invalid:8001/v1"))
    try:
        assert engine.status.elsewhere == "gpu.invalid"
        assert (await engine.probe()).elsewhere == "gpu.invalid"
    finally:
        await engine.close()
    async with FakeOpenAI() as server:
        near = OpenAIEngine("vllm", Endpoint(server.base_url))
        assert (await near.probe()).elsewhere == ""
        await near.close()


@pytest_asyncio.fixture
async def camera() -> AsyncIterator[LiveEncoder]:
    encoder = LiveEncoder(Scene(320, 240), rate=10)
    yield encoder
    await encoder.close()


@pytest.mark.slow
async def test_a_client_that_knows_only_questions_and_answers(camera: LiveEncoder) -> None:
    """One without a page: what it has to send stands in the error, word for word."""
    with named(HOST):
        async with FakeOpenAI() as server:
            await server.close()
            url = f"http://{HOST}:{server.port}/v1"
            async with (
                running(engine="auto", vllm_base_url=url) as run,
                visitor(run, camera) as one,
            ):
                assert (await one.page.ask("What is it?"))["engine"] == "builtin"
                await server.start()
                await soon(lambda: run.program.engines.current.name == "vllm", 15)
                refused = await one.page.ask("What is it?", id="a")
                assert (refused["code"], refused["id"]) == ("not_confirmed", "a")
                assert len(server.requests) == 0
                said = re.search(r"\{.*\}", refused["message"])
                assert said is not None
                await one.page.socket.send(said[0])
                answer = await one.page.ask("What is it?", id="b")
                assert (answer["type"], answer["engine"]) == ("response", "vllm")

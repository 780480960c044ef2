"""OpenAI's own client on the live camera: answers, streams, pictures, tools, and what is refused."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.chat import ChatCompletion

from scripts.bench.live_encoder import LiveEncoder
from server.features.openai_api import routes as chat_routes
from server.features.openai_api.request import ChatRequest, read
from server.models.openai import engine as engine_module
from tests.features.grants.test_routes import give, serving_programs
from tests.support.clients import Visitor, bearer, http, metric, soon, visitor
from tests.support.fakes_openai import Behaviour, FakeOpenAI, Seen
from tests.support.fakes_rtc import live_encoder
from tests.support.guides import blocks, out_of, text_of
from tests.support.running import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = "camera://now"
TOOL: Any = {
    "type": "function",
    "function": {"name": "lamp", "parameters": {"type": "object", "properties": {}}},
}
SCHEMA: Any = {
    "type": "json_schema",
    "json_schema": {"name": "seen", "schema": {"type": "object", "properties": {}}},
}
REMOTE: Any = {
    "type": "json_schema",
    "json_schema": {"name": "seen", "schema": {"$ref": "http://169.254.169.254/x"}},
}


class Desk:
    """A running server with its model server, a person with a live camera, and a program's client."""

    def __init__(
        self, run: Running, fake: FakeOpenAI, person: Visitor, token: str, http: httpx.AsyncClient
    ) -> None:
        self.run, self.fake, self.person, self.token, self.http = run, fake, person, token, http
        self.client = self.as_program()

    def as_program(self, token: str = "", base: str = "/v1") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(
            api_key=token or self.token, base_url=self.run.base_url + base, max_retries=0
        )

    async def ask(self, *parts: Any, **fields: Any) -> ChatCompletion:
        answer = await self.client.chat.completions.create(
            model="camera", messages=said(*parts), **fields
        )
        assert isinstance(answer, ChatCompletion)
        return answer

    async def post(self, body: Any, path: str = "/v1/chat/completions") -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post(path, content=raw, headers=bearer(self.token))


async def stopped(seen: Seen) -> None:
    """The model's stream was closed before its end."""
    async with asyncio.timeout(5):
        await seen.done.wait()
    assert seen.closed_early


def said(*parts: str) -> Any:
    content = [
        (
            {"type": "image_url", "image_url": {"url": part}}
            if "://" in part or part.startswith("data:")
            else {"type": "text", "text": part}
        )
        for part in parts
    ]
    return [{"role": "user", "content": content}]


@asynccontextmanager
async def desk_with(encoder: LiveEncoder, **settings: Any) -> AsyncIterator[Desk]:
    async with (
        FakeOpenAI(max_model_len=32768) as fake,
        serving_programs(fake, **settings) as run,
        visitor(run, encoder) as person,
        http(run) as client,
    ):
        made = await give(client, person.token, scopes=["look"])
        one = Desk(run, fake, person, made["token"], client)
        yield one
        await one.client.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(encoder: LiveEncoder) -> AsyncIterator[Desk]:
    """One person for all tests, whose programs have a larger share than the programs of a real one."""
    with patch("server.features.grants.grants.ALL_SHARE", 100):
        async with desk_with(encoder) as one:
            yield one


@pytest_asyncio.fixture(loop_scope="module")
async def desk(shared: Desk) -> Desk:
    """The shared desk, with a model server as it was and no calls on the program's account."""
    fake = shared.fake
    fake.behaviour, fake.deltas, fake.finish_reason = Behaviour.NORMAL, None, "stop"
    fake.first_token = fake.between_tokens = 0.0
    fake.steps = None
    fake.blind = set()
    made = await give(shared.http, shared.person.token, scopes=["look"])
    own = bearer(shared.person.token)
    for old in (await shared.http.get("/api/grants", headers=own)).json()["programs"]:
        if old["id"] != made["id"]:
            await shared.http.delete(f"/api/grants/{old['id']}", headers=own)
    await shared.client.close()
    shared.token = made["token"]
    shared.client = shared.as_program()
    return shared


async def test_an_answer_about_now(desk: Desk) -> None:
    """With the camera's picture, the model's own count of tokens, and on the person's page."""
    answer = await desk.ask("What is it?", NOW)
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("I see a cup.", "stop")
    assert answer.model == "fake-vl"
    assert answer.id.startswith("chatcmpl-")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 640
    assert len(desk.fake.last.jpegs) == 1
    (frame,) = answer.model_extra["camera"]["frames"]  # type: ignore[index]
    assert not frame["held"]
    look = await desk.person.page.next("look", state="done", question="What is it?")
    assert (look["tool"], look["text"]) == ("chat", "I see a cup.")
    assert look["image"].startswith("data:image/jpeg;base64,")


async def test_the_models(desk: Desk) -> None:
    found = [one.id async for one in desk.client.models.list()]
    assert found == ["camera", "fake-vl"]
    assert (await desk.client.models.retrieve("fake-vl")).id == "fake-vl"
    for call in (
        desk.client.models.retrieve("gpt-4o"),
        desk.client.chat.completions.create(model="gpt-4o", messages=said("x")),
    ):
        with pytest.raises(openai.NotFoundError) as refused:
            await call
        assert refused.value.code == "model_not_found"


async def test_a_stream_word_by_word(desk: Desk) -> None:
    """Pieces come while the model still writes; usage comes last where it is wanted."""
    desk.fake.hold()
    stream = await desk.client.chat.completions.create(
        model="fake-vl",
        messages=said("What is it?"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks, early = [], False
    async for chunk in stream:
        chunks.append(chunk)
        words = any(c.choices and c.choices[0].delta.content for c in chunks)
        if words and not early:
            early = desk.fake.running > 0
            desk.fake.let_go()
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "I see a cup."
    assert early
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 644
    assert stream.response.headers["x-request-id"] == chunks[0].id


@pytest.mark.parametrize("streamed", [True, False])
async def test_leaving_stops_the_model(desk: Desk, streamed: bool) -> None:
    """Before the first word and within the answer: the stream at the model server closes."""
    desk.fake.first_token, desk.fake.between_tokens = (0.0, 30.0) if streamed else (30.0, 0.0)
    count = desk.fake.count

    async def reads() -> None:
        answer = await desk.client.chat.completions.create(
            model="camera", messages=said("What is it?"), stream=streamed
        )
        if isinstance(answer, openai.AsyncStream):
            async for _ in answer:
                pass

    task = asyncio.create_task(reads())
    seen = await desk.fake.wait_for(count + 1, timeout=10)
    if streamed:
        await soon(lambda: seen.sent > 0)
    task.cancel()
    await stopped(seen)


async def test_leaving_while_it_waits_its_turn(desk: Desk) -> None:
    """Looks that nobody waits for any more ask nothing, and leave the program's turn and the model free."""
    desk.fake.first_token = 30.0
    count = desk.fake.count
    first = asyncio.create_task(desk.ask("The first"))
    await desk.fake.wait_for(count + 1, timeout=10)
    others = [asyncio.create_task(desk.ask(f"Another {at}")) for at in range(3)]
    for at in range(3):
        await desk.person.page.next("look", state="looking", question=f"Another {at}")
    with pytest.raises(openai.InternalServerError) as busy:
        await desk.ask("One too many")
    assert busy.value.code == "busy"
    for task in others:
        task.cancel()
        await desk.person.page.next("look", state="failed")
    first.cancel()
    await desk.person.page.next("look", state="failed", question="The first")
    desk.fake.first_token = 0.0
    await desk.ask("The last")
    assert desk.fake.count == count + 2


@pytest.mark.slow
async def test_requests_that_take_long_hold_nobody_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Further ones of programs are busy; pages and their threads are not."""
    gate = threading.Event()

    def stuck(raw: bytes, takes_tools: bool) -> ChatRequest:
        gate.wait(30)
        return read(raw, takes_tools)

    monkeypatch.setattr(chat_routes, "read", stuck)
    sent = [asyncio.create_task(desk.post({"model": "camera"})) for _ in range(12)]
    try:
        done, _ = await asyncio.wait(sent, timeout=30)
        assert {one.result().status_code for one in done} == {503}
        assert len(done) == 12
        for path in ("/", "/health/live"):
            assert (await desk.http.get(path)).is_success
    finally:
        gate.set()
    await asyncio.wait(sent)


async def test_the_sessions_own_address(desk: Desk) -> None:
    """It names the session for balancers; another one's gets nobody in."""
    own = desk.as_program(base=f"/at/{desk.person.session_id}/v1")
    assert [one.id async for one in own.models.list()]
    other = desk.as_program(base="/at/another-session/v1")
    with pytest.raises(openai.AuthenticationError) as refused:
        await other.chat.completions.create(model="camera", messages=said("x"))
    assert refused.value.code == "invalid_api_key"
    for client in (own, other):
        await client.close()


async def test_nobody_gets_in_without_a_grant(desk: Desk) -> None:
    """A session's own token is no key, nor is one that has ended."""
    count = desk.fake.count
    await desk.http.delete("/api/grants", headers=bearer(desk.person.token))
    for token in ("wrong", desk.person.token, desk.token):
        client = desk.as_program(token)
        for call in (
            client.chat.completions.create(model="camera", messages=said("x")),
            client.models.retrieve("camera"),
        ):
            with pytest.raises(openai.AuthenticationError) as refused:
                await call
            assert refused.value.type == "authentication_error"
        await client.close()
    assert desk.fake.count == count


async def test_the_end_of_a_grant_ends_its_answer(desk: Desk) -> None:
    desk.fake.first_token = 30.0
    count = desk.fake.count
    task = asyncio.create_task(desk.ask("What is it?"))
    seen = await desk.fake.wait_for(count + 1, timeout=10)
    await desk.http.delete("/api/grants", headers=bearer(desk.person.token))
    with pytest.raises(openai.AuthenticationError):
        await task
    await stopped(seen)


@pytest.mark.parametrize(
    "url", ["https://example.org/a.jpg", "data:image/jpeg;base64,/9j/4AAQ", "file:///etc/passwd"]
)
async def test_only_the_live_camera_is_looked_at(desk: Desk, url: str) -> None:
    """Nothing is fetched or taken, and no model is asked."""
    count = desk.fake.count
    with pytest.raises(openai.PermissionDeniedError) as refused:
        await desk.ask("What is it?", url)
    assert refused.value.code == "upload_refused"
    assert refused.value.param == "messages[0].content[1].image_url.url"
    assert desk.fake.count == count


async def test_the_held_frame(desk: Desk) -> None:
    with pytest.raises(openai.ConflictError, match="No picture is held"):
        await desk.ask("What is it?", "camera://held")
    await desk.person.page.send(type="hold")
    await desk.person.page.next("status", held=True)
    answer = await desk.ask("Compare.", "camera://held", NOW)
    await desk.person.page.send(type="release")
    assert [one["held"] for one in answer.model_extra["camera"]["frames"]] == [True, False]  # type: ignore[index]
    assert len(desk.fake.last.jpegs) == 2
    assert "The held frame:" in [text for _, text in desk.fake.last.texts]


async def test_frames_of_the_past(desk: Desk) -> None:
    """Only where the person keeps some, and none of before the program had access."""
    past = "camera://-30s..now?frames=4"
    with pytest.raises(openai.ConflictError, match="recent past are kept"):
        await desk.ask("What happened?", past)
    await desk.person.page.send(type="settings", recall=True)
    await desk.person.page.next("recall", pictures=1, timeout=10)
    answer = await desk.ask("What happened?", past)
    frames = answer.model_extra["camera"]["frames"]  # type: ignore[index]
    assert len(frames) == len(desk.fake.last.jpegs) == 2
    assert frames[0]["captured_at"] < frames[1]["captured_at"]
    later = await give(desk.http, desk.person.token, scopes=["look"])
    assert frames[0]["captured_at"] < later["made_at"]
    async with desk.as_program(later["token"]) as client:
        answer = await client.chat.completions.create(
            model="camera", messages=said("What happened?", past)
        )
    await desk.person.page.send(type="settings", recall=False)
    frames = answer.model_extra["camera"]["frames"]  # type: ignore[index]
    # By two clocks, which may differ a little
    assert all(one["captured_at"] > later["made_at"] - 50 for one in frames)


async def test_tools(desk: Desk) -> None:
    """They go on, a call comes back whole, and its result goes on with the next request."""
    function = {"name": "lamp", "arguments": '{"on": true}'}
    call = {"index": 0, "id": "c1", "type": "function", "function": function}
    desk.fake.deltas, desk.fake.finish_reason = [{"tool_calls": [call]}], "tool_calls"
    answer = await desk.ask("Is it dark?", NOW, tools=[TOOL])
    assert desk.fake.last.body["tools"] == [TOOL]
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    stream = await desk.client.chat.completions.create(
        model="camera", messages=said("Is it dark?"), tools=[TOOL], stream=True
    )
    calls = [c async for c in stream if c.choices and c.choices[0].delta.tool_calls]
    assert len(calls) == 1
    desk.fake.deltas, desk.fake.finish_reason = None, "stop"
    messages = [
        *said("Is it dark?", NOW),
        message,
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "The lamp is on."},
    ]
    await desk.client.chat.completions.create(model="camera", messages=messages, tools=[TOOL])
    sent = desk.fake.last.body["messages"]
    assert sent[2]["tool_calls"][0]["function"] == function
    # Some servers refuse a result without the name of its tool.
    assert sent[3] == {
        "role": "tool",
        "content": "The lamp is on.",
        "tool_call_id": "c1",
        "name": "lamp",
    }
    look = await desk.person.page.next("look", state="done", text='lamp {"on": true}')
    assert look["tool"] == "chat"


async def test_a_form_of_answer(desk: Desk) -> None:
    with patch.object(desk.fake, "answer_for", lambda _body, _jpeg: ['{"cups"', ": 1}"]):
        answer = await desk.ask("How many cups?", response_format=SCHEMA, temperature=0)
    assert json.loads(answer.choices[0].message.content or "") == {"cups": 1}
    assert desk.fake.last.body["response_format"] == SCHEMA
    assert desk.fake.last.body["temperature"] == 0


async def test_a_model_that_refuses_tools(desk: Desk) -> None:
    desk.fake.blind = {"fake-vl"}
    desk.fake.blind_words = '"auto" tool choice requires --enable-auto-tool-choice'
    with pytest.raises(openai.InternalServerError, match='may not support "tools"') as refused:
        await desk.ask("Is it dark?", tools=[TOOL])
    assert "enable-auto" not in str(refused.value)


async def test_the_persons_chat_is_apart(desk: Desk) -> None:
    """Neither is in the other's prompt, and neither stops the other."""
    await desk.person.page.ask("A secret of the person", id="own")
    await desk.ask("A question of the program")
    prompt = json.dumps([text for _, text in desk.fake.last.texts])
    assert "secret of the person" not in prompt
    assert "A question of the program" in prompt
    await desk.person.page.ask("And now?", id="own-2")
    assert "question of the program" not in json.dumps(desk.fake.last.texts)


@pytest.mark.parametrize("behaviour", [Behaviour.INTERNAL, Behaviour.HANGS_UP])
async def test_a_model_server_in_trouble(
    desk: Desk, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's client gets a status that it tries again; nothing of the server's own words."""
    monkeypatch.setattr(engine_module, "_PAUSES", (0.01, 0.02))
    desk.fake.behaviour = behaviour
    with pytest.raises(openai.InternalServerError) as failed:
        await desk.ask("What is it?")
    assert failed.value.type == "server_error"
    assert failed.value.response.headers["x-should-retry"] == "true"
    assert "raw happened" not in str(failed.value)
    desk.fake.behaviour = Behaviour.NORMAL
    await soon(lambda: desk.run.program.engines.current.status.ready, 20)


async def test_an_error_within_a_stream(desk: Desk) -> None:
    """The client raises it after the words that came."""
    desk.fake.behaviour = Behaviour.ERROR_LATER
    stream = await desk.client.chat.completions.create(
        model="camera", messages=said("What is it?"), stream=True
    )
    texts: list[str] = []

    async def reads() -> None:
        async for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")

    with pytest.raises(openai.APIError) as failed:
        await reads()
    assert "".join(texts) == "I see "
    assert failed.value.code == "engine_failed"


async def test_what_is_no_request(desk: Desk) -> None:
    """Huge, deep, unknown and broken bodies: an error in OpenAI's form, and no model is asked."""
    count = desk.fake.count
    good = {"model": "camera", "messages": said("x")}
    for body, status, code in (
        (b"{", 400, "bad_request"),
        (b'{"messages":' + b"[" * 60_000, 400, "bad_request"),
        (good | {"top_k": 3}, 400, "unknown_parameter"),
        (good | {"response_format": REMOTE}, 400, "bad_request"),
        (good | {"messages": said(*["x"] * 40)}, 400, "bad_request"),
        (good | {"user": "x" * 200_000}, 413, "too_large"),
        (good | {"messages": said("word " * 25_000)}, 400, "context_length_exceeded"),
    ):
        reply = await desk.post(body)
        error = reply.json()["error"]
        assert (reply.status_code, error["code"]) == (status, code), reply.text
        assert set(error) == {"message", "type", "param", "code"}
        assert reply.headers["x-should-retry"] == "false"
    assert desk.fake.count == count


async def test_other_addresses_of_the_interface(desk: Desk) -> None:
    """They are refused in OpenAI's form, also with the session in the address; nothing is uploaded."""
    for method, path, status in (
        ("POST", "/v1/images/generations", 404),
        ("GET", "/v1/chat/completions", 405),
        ("GET", f"/at/{desk.person.session_id}/v1/x", 404),
    ):
        reply = await desk.http.request(method, path, headers=bearer(desk.token))
        assert reply.status_code == status
        assert reply.json()["error"]["type"] == "invalid_request_error"
    files = {"file": ("a.jpg", b"\xff\xd8")}
    reply = await desk.http.post("/v1/files", files=files, headers=bearer(desk.token))
    assert (reply.status_code, reply.json()["error"]["param"]) == (415, None)


async def test_another_sites_page_is_refused(desk: Desk) -> None:
    headers = bearer(desk.token) | {"Origin": "https://elsewhere.example"}
    reply = await desk.http.get("/v1/models", headers=headers)
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "forbidden"


async def test_rubbish_costs_the_rate(desk: Desk) -> None:
    """Calls are counted before anything is read; OpenAI's client hears when to come again."""
    replies = [await desk.post(b"{") for _ in range(40)]
    last = replies[-1]
    assert last.status_code == 429
    assert last.json()["error"]["code"] == "rate_limit_exceeded"
    assert (last.headers["x-should-retry"], last.headers["retry-after"]) == ("true", "1")
    assert metric(desk.run, "programs_total", what="rate_limited") > 0


async def test_tasks_about_the_chat_are_no_looks(encoder: LiveEncoder) -> None:
    """Open WebUI sends several beside each question; a question with its documents begins like one."""
    task = "### Task:\nGenerate a title.\n### Chat History:\n<chat_history>...</chat_history>"
    async with desk_with(encoder, program_looks_per_minute=8) as desk:
        await desk.ask("What is this?")
        asked = desk.fake.count
        for _ in range(4):
            answer = await desk.ask(task)
            assert answer.choices[0].finish_reason == "stop"
            assert "camera://now" in json.loads(answer.choices[0].message.content or "")["note"]
        assert desk.fake.count == asked
        await desk.ask("### Task:\nAnswer.\n<context>A page.</context>\nAnd now?")
        assert desk.fake.count == asked + 1
        with pytest.raises(openai.RateLimitError):
            await desk.ask(task, NOW)


@pytest.mark.slow
async def test_the_built_in_engine(encoder: LiveEncoder) -> None:
    """It answers about now; it says what it cannot do, and does not leave it out in silence."""
    async with desk_with(encoder, engine="builtin", vllm_base_url="") as desk:
        answer = await desk.ask("What text is there?", NOW)
        assert answer.choices[0].message.content
        assert answer.usage is None
        for fields, name in (({"tools": [TOOL]}, "tools"), ({"response_format": SCHEMA}, "form")):
            with pytest.raises(openai.ConflictError, match=name):
                await desk.ask("What is it?", **fields)
        with pytest.raises(openai.ConflictError, match="2 pictures"):
            await desk.ask("Compare.", NOW, NOW)


BLOCKS = blocks(text_of("server/features/openai_api/README.md"))


@pytest.mark.slow
async def test_its_commands_and_programs_work() -> None:
    """Only the two variables are ours: they name a server that nobody has."""
    commands = [text for kind, text in BLOCKS if kind == "bash"]
    programs = [text for kind, text in BLOCKS if kind == "python"]
    variables, listing, question = commands
    assert re.findall(r"export (\w+)=", variables) == ["OPENAI_BASE_URL", "OPENAI_API_KEY"]
    streamed, formed = programs
    async with live_encoder() as encoder, desk_with(encoder) as desk:
        own = {"OPENAI_BASE_URL": f"{desk.run.base_url}/v1", "OPENAI_API_KEY": desk.token}
        listed = json.loads(await out_of("bash", "-c", listing, **own))
        assert [one["id"] for one in listed["data"]] == ["camera", "fake-vl"]
        answer = json.loads(await out_of("bash", "-c", question, **own))
        assert answer["choices"][0]["message"]["content"] == "I see a cup."
        assert await out_of(sys.executable, "-c", streamed, **own) == "I see a cup.\n"
        assert desk.fake.last.texts[0][1].endswith("Answer in one word.")
        desk.fake.answer_for = lambda _body, _jpeg: ['{"cups": 2, ', '"anybody": false}']
        parsed = await out_of(sys.executable, "-c", formed, **own)
        assert parsed == "cups=2 anybody=False\n"
        form = desk.fake.last.body["response_format"]["json_schema"]
        assert form["schema"]["required"] == ["cups", "anybody"]

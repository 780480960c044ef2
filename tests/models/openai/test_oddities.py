"""Ordinary oddities of model servers: each answers, whatever it sends beside the answer."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import pytest

from server.core.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout
from server.core.frames import JobKind
from server.models.base import EngineRequest, ShownPicture, Turn
from server.models.openai.chat_client import Endpoint, TimeLimits
from server.models.openai.engine import OpenAIEngine
from tests.models.asking import collect, picture, request
from tests.support.fakes_openai import FakeOpenAI, pictures
from tests.support.plays import (
    ANSWER,
    END,
    FAILURES,
    PLAYS,
    WORDS,
    Event,
    Play,
    chunk,
    error,
    refuse_unknown,
)

LIMITS = TimeLimits(first_token=5.0, background=5.0, between_tokens=2.0, total=8.0)


@pytest.fixture
async def server() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(model="odd-vl", max_model_len=None) as one:
        yield one


@pytest.fixture
async def engine(server: FakeOpenAI) -> AsyncIterator[OpenAIEngine]:
    one = OpenAIEngine("vllm", Endpoint(server.base_url, model="odd-vl"), limits=LIMITS)
    yield one
    await one.close()


async def answer(engine: OpenAIEngine, one: EngineRequest | None = None) -> str:
    texts, _ = await collect(engine, one)
    return "".join(texts).replace("\u2028", " ").replace("🚗", "on a table.")


def rich() -> EngineRequest:
    """Return a request with all that a plain one has not."""
    earlier = tuple(ShownPicture(picture(), f"{n}") for n in range(8))
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    return request(earlier=earlier, schema={"type": "object"}, tools=(tool,))


@pytest.mark.parametrize("name", PLAYS)
@pytest.mark.parametrize("kind", [JobKind.CHAT, JobKind.WATCH])
async def test_it_is_answered(
    server: FakeOpenAI, engine: OpenAIEngine, name: str, kind: JobKind
) -> None:
    server.play = PLAYS[name]
    assert await answer(engine, request(kind=kind)) == ANSWER


@pytest.mark.parametrize(
    "events",
    [
        [WORDS[0], "no JSON", *END],
        [WORDS[0], {"choices": "none today"}, *END],
        [WORDS[0], error("overloaded", 502)],
        [WORDS[0], {"object": "error", "message": "no", "code": 500}],
        [WORDS[0], chunk(finish="error")],
        [WORDS[0]],
    ],
)
async def test_these_end_an_answer(
    server: FakeOpenAI, engine: OpenAIEngine, events: list[Any]
) -> None:
    server.play = Play(events)
    with pytest.raises(EngineError):
        await answer(engine)
    assert server.count == 1


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_what_was_refused_is_left_out_for_ten_minutes(
    server: FakeOpenAI, engine: OpenAIEngine, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And said in the status, until then; of this model alone."""
    server.play = Play(refuse=refuse_unknown(status, error("Unexpected keys")))
    assert await answer(engine) == ANSWER
    assert await answer(engine) == ANSWER
    assert server.count == 3
    assert engine.status.left_out == ("optional fields",)
    monkeypatch.setattr("server.models.openai.request.KEEP_SECONDS", 0.0)
    other = OpenAIEngine("vllm", Endpoint(server.base_url, model="odd-vl"), limits=LIMITS)
    await answer(other)
    assert other.status.left_out == ()
    await other.close()


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_a_refused_request_is_asked_once_more_in_its_plain_form(
    server: FakeOpenAI, engine: OpenAIEngine, status: int
) -> None:
    """The newest picture alone, the text and four fields; the answer says what was left out."""
    server.play = Play(
        refuse=lambda body: (
            (status, error("failed to process image")) if len(pictures(body)) > 1 else None
        )
    )
    await engine.probe()
    texts, end = await collect(engine, rich())
    assert "".join(texts) == ANSWER
    assert [len(one.jpegs) for one in server.requests] == [9, 1]
    assert server.last.body.keys() == {"model", "messages", "max_tokens", "stream"}
    assert end.pictures_left_out == 8
    assert engine.status.capabilities.max_pictures == 1


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(("why", "kept"), [("Roles must alternate", True), ("no", False)])
async def test_a_template_that_takes_no_two_messages_gets_the_picture_with_the_question(
    server: FakeOpenAI, engine: OpenAIEngine, status: int, why: str, kept: bool
) -> None:
    """Nothing is sent ahead from then on. Where it says why, all else goes on as before."""

    def refuse(body: dict[str, Any]) -> tuple[int, Any] | None:
        roles = [message["role"] for message in body["messages"]]
        return (status, error(why)) if ["user"] * 2 in map(list, pairwise(roles)) else None

    server.play = Play(refuse=refuse)
    for _ in range(2):
        assert await answer(engine, request(apart=True)) == ANSWER
    asked = [one.body["messages"][-2:] for one in server.requests if not refuse(one.body)]
    assert [part["type"] for part in asked[-1][-1]["content"]][-2:] == ["image_url", "text"]
    assert "a message for the picture" in engine.status.left_out
    assert ("optional fields" not in engine.status.left_out) is kept
    assert not engine.status.capabilities.prefix_cache


async def test_what_was_taken_before_is_not_left_out_later(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """But at a second refusal: one person's sound may be the reason, or a server that ended behind a router."""
    await answer(engine)
    server.play = Play(refuse=lambda body: (400, error("no")) if len(pictures(body)) > 1 else None)
    await answer(engine, rich())
    assert engine.status.left_out == ("several pictures", "tools")
    server.play = Play()
    await answer(engine)
    server.play = PLAYS["unknown fields, 400"]
    await answer(engine)
    assert engine.status.left_out == ("several pictures", "tools")
    await answer(engine)
    assert "optional fields" in engine.status.left_out


@pytest.mark.parametrize("refused", ["stream_options", "chat_template_kwargs", "pictures"])
async def test_a_model_that_thinks_has_tokens_for_it_in_the_plain_form(
    server: FakeOpenAI, refused: str
) -> None:
    """Nothing switches its thoughts off there."""
    server.models = ["Qwen3.5-9B"]
    engine = OpenAIEngine("vllm", Endpoint(server.base_url), limits=LIMITS)
    await engine.probe()

    def refuse(body: dict[str, Any]) -> tuple[int, Any] | None:
        named = len(pictures(body)) > 1 if refused == "pictures" else refused in body
        return (400, error("no")) if named else None

    def thinks(body: dict[str, Any]) -> list[Event]:
        thoughts = [] if "chat_template_kwargs" in body else [chunk("hm</think>")]
        return [*thoughts, *WORDS, *END]

    server.play = Play(thinks, refuse=refuse)
    for _ in range(2):
        assert await answer(engine, rich()) == ANSWER
    assert server.last.body["max_tokens"] == 128 + 1024
    await engine.close()


@pytest.mark.parametrize("name", ["length", "MAX_TOKENS", "max_tokens", "model_length"])
async def test_each_name_of_a_cut_answer(
    server: FakeOpenAI, engine: OpenAIEngine, name: str
) -> None:
    server.play = Play([*WORDS, chunk(finish=name), "[DONE]"])
    assert (await collect(engine))[1].finish_reason == "length"


async def test_a_limit_that_is_too_high_is_asked_without_thoughts(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    server.play = Play(
        refuse=lambda body: (
            (400, error("too many", param="max_tokens")) if body["max_tokens"] > 512 else None
        )
    )
    for _ in range(2):
        assert await answer(engine) == ANSWER
    assert [one.body["max_tokens"] for one in server.requests] == [1152, 128, 128]


async def test_a_field_that_is_named_is_left_out_alone(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    server.play = Play(
        refuse=lambda body: (
            (400, error("no", "unsupported_value", param="temperature"))
            if "temperature" in body
            else None
        )
    )
    await collect(engine, rich())
    assert len(server.last.jpegs) == 9
    assert "tools" in server.last.body


async def test_a_refused_plain_form_is_the_answer(server: FakeOpenAI, engine: OpenAIEngine) -> None:
    server.play = Play(refuse=lambda body: (400, error("no image")))
    with pytest.raises(EngineRefused, match="takes pictures"):
        await answer(engine)
    assert server.count == 2
    assert engine.status.left_out == ()


async def test_a_conversation_that_does_not_fit_is_shortened(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """By the number in the refusal, which bounds later prompts."""
    refusal = error("the request exceeds the available context size", 400, n_ctx=4096)
    server.play = Play(refuse=lambda body: (400, refusal) if len(body["messages"]) > 4 else None)
    turns = tuple(Turn(f"q{n}", f"a{n}") for n in range(4))
    texts, end = await collect(engine, request(turns=turns))
    assert "".join(texts) == ANSWER
    assert end.left_out == 3
    assert engine.status.capabilities.context_length == 4096
    assert engine.status.left_out == ()


async def test_a_full_context_is_logged_once(
    server: FakeOpenAI, engine: OpenAIEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """If an answer ended before its own limit."""
    usage = {"prompt_tokens": 4095, "completion_tokens": 1}
    server.play = Play([chunk("A"), chunk(finish="length") | {"usage": usage}, "[DONE]"])
    for _ in range(2):
        assert (await collect(engine))[1].finish_reason == "length"
    assert caplog.text.count("answer truncated: model context full") == 1


async def test_thoughts_alone_are_the_answer_at_the_first_request(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    server.play = Play([chunk(reasoning=ANSWER), *END])
    assert await answer(engine) == ANSWER
    assert server.count == 1


async def test_a_model_may_take_its_time(server: FakeOpenAI, engine: OpenAIEngine) -> None:
    """Before its first word and within the answer, where the limits allow it."""
    server.play = Play([1.5, WORDS[0], 1.5, *WORDS[1:], *END])
    assert await answer(engine) == ANSWER
    server.play = Play([WORDS[0], 3.0, *WORDS[1:], *END])
    with pytest.raises(EngineError, match="silent"):
        await answer(engine)


async def test_only_a_loaded_model_has_to_look_quickly(server: FakeOpenAI) -> None:
    """A watch's first look may load the model, which begins anew when nobody waits for it."""
    limits = dataclasses.replace(LIMITS, background=0.5)
    engine = OpenAIEngine("vllm", Endpoint(server.base_url, model="odd-vl"), limits=limits)
    server.play = Play([1.0, *WORDS, *END])
    assert await answer(engine, request(kind=JobKind.WATCH)) == ANSWER
    with pytest.raises(EngineTimeout, match=r"0\.5 s"):
        await answer(engine, request(kind=JobKind.WATCH))
    assert await answer(engine) == ANSWER
    await engine.close()


async def test_an_answer_that_is_too_large_is_refused(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    server.play = Play([chunk("x" * 5_000_000), *END])
    with pytest.raises(EngineFailed):
        await answer(engine)


async def test_another_question_may_follow_each(server: FakeOpenAI, engine: OpenAIEngine) -> None:
    """No connection stays behind."""
    for play in PLAYS.values():
        server.play = play
        await answer(engine)
    assert server.running == 0


@pytest.mark.parametrize("name", FAILURES)
async def test_a_failure_is_an_error_without_the_servers_words(
    server: FakeOpenAI, engine: OpenAIEngine, name: str
) -> None:
    """And the next answer works."""
    server.play = FAILURES[name]
    with pytest.raises(EngineError) as raised:
        await answer(engine)
    told = raised.value.message
    assert told.endswith(".")
    for words in ("pulling", "filtered", "credits", "died", "Bad Gateway", "Z failed", "input is"):
        assert words not in told
    server.play = Play()
    assert await answer(engine) == ANSWER


@pytest.mark.parametrize(
    ("name", "said"),
    [("Azure: filtered", "filter"), ("Alibaba: filtered", "filter"), ("too long", "fewer words")],
)
async def test_the_code_of_a_refusal_makes_its_sentence(
    server: FakeOpenAI, engine: OpenAIEngine, name: str, said: str
) -> None:
    too_long = Play(refuse=lambda body: (400, error("Too long.", "context_length_exceeded")))
    server.play = {**FAILURES, "too long": too_long}[name]
    with pytest.raises(EngineRefused, match=said):
        await answer(engine)


@pytest.mark.parametrize(
    ("refusal", "least"),
    [
        ((429, error("slow down"), "retry-after: 60", "retry-after-ms: 300"), 0.3),
        ((503, {"error": "Model X is loading", "estimated_time": 90.0}), 1.0),
    ],
)
async def test_a_question_waits_for_as_long_as_the_server_says(
    server: FakeOpenAI, engine: OpenAIEngine, refusal: tuple[Any, ...], least: float
) -> None:
    """In OpenAI's milliseconds; while Hugging Face's loads a model."""
    await engine.probe()
    server.play = Play(refuse=lambda _: refusal if server.count < 3 else None)
    began = time.monotonic()
    assert await answer(engine) == ANSWER
    assert time.monotonic() - began > 2 * least


async def test_several_at_once_learn_the_limits_newer_name(
    server: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """Also where nothing else can be left out any more."""
    too_many = (400, error("too many", param="max_tokens"))
    for play in (
        PLAYS["unknown fields, 400"],
        Play(refuse=lambda body: too_many if body["max_tokens"] > 512 else None),
    ):
        server.play = play
        await answer(engine)
    server.play = PLAYS["max_completion_tokens"]
    assert await asyncio.gather(*(answer(engine) for _ in range(8))) == [ANSWER] * 8


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("place", ["/v1/chat/completions/", "{}/chat/completions/"])
async def test_a_slash_more_is_taken(
    server: FakeOpenAI, engine: OpenAIEngine, status: int, place: str
) -> None:
    """And kept for later questions."""
    refusal = (status, "", f"location: {place.format(server.base_url)}")
    server.play = Play(refuse=lambda _: refusal if server.count == 1 else None)
    assert [await answer(engine), await answer(engine)] == [ANSWER, ANSWER]
    assert server.count == 3


@pytest.mark.parametrize("name", ["Azure", "OpenRouter", "Ollama", "LM Studio"])
async def test_a_cancelled_answer_is_free_at_once(
    server: FakeOpenAI, engine: OpenAIEngine, name: str
) -> None:
    """Within 300 ms, before the first word and after it."""
    await answer(engine)
    events = list(cast(list[Event], PLAYS[name].events))
    for pause in (0, 2):
        server.play = dataclasses.replace(PLAYS[name], events=[*events[:pause], 60.0])
        task = asyncio.create_task(answer(engine))
        while not server.running:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        async with asyncio.timeout(0.3):
            while server.running:
                await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            await task

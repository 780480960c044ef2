"""Requests to a model server: insufficient context, and held frames."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.core.errors import EngineRefused
from server.engines.base import EngineRequest, Finished, Turn
from server.engines.openai.chat_request import RequestFields, fewer_turns
from server.engines.openai.engine import OpenAIEngine
from server.engines.thinking import Thinking, ThinkingLimits
from tests.engines.openai.test_engine import QUICK, collect, request
from tests.support.fakes_openai import FakeOpenAI

TURNS = tuple(
    Turn(f"Question {n} of many words here?", "An answer of some words.") for n in range(8)
)


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI(max_model_len=None) as server:
        yield server


@pytest_asyncio.fixture
async def engine(fake: FakeOpenAI) -> AsyncIterator[OpenAIEngine]:
    one = OpenAIEngine(name="vllm", base_url=fake.base_url, limits=QUICK)
    yield one
    await one.close()


async def test_turns_that_do_not_fit_are_left_out(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """One question goes again with half of the turns, before anything of an answer; how many went is told."""
    fake.context, fake.tells_context = 128 + 170, False
    texts, end = await collect(engine, request(turns=TURNS))
    assert texts == ["I ", "see ", "a ", "cup."]
    assert fake.count == 2
    assert end.left_out == 4
    assert next(text for role, text in fake.last.texts if role == "user") == TURNS[4].question


async def test_a_context_that_is_told_is_learned(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """From then on nothing larger is counted on, also after the next look."""
    fake.context = 300
    await collect(engine, request(turns=TURNS))
    assert engine.status.capabilities.context_length == 300
    await engine.probe()
    assert engine.status.capabilities.context_length == 300
    fake.models = ["other"]
    await engine.probe()
    assert engine.status.capabilities.context_length is None


async def test_a_question_that_does_not_fit_alone_is_refused(
    fake: FakeOpenAI, engine: OpenAIEngine
) -> None:
    """All turns go first; then it is said."""
    fake.context, fake.tells_context = 100, False
    with pytest.raises(EngineRefused, match="do not fit"):
        await collect(engine, request(turns=TURNS[:2]))
    assert fake.count == 3


@pytest.mark.parametrize(("turns", "left"), [(0, 0), (1, 0), (2, 1), (3, 1), (8, 4)])
def test_the_older_half_goes(turns: int, left: int) -> None:
    """And the last one when there is only one."""
    assert fewer_turns(request(turns=TURNS[:turns])).turns == TURNS[turns - left : turns]


def sent(one: EngineRequest) -> bytes:
    """The messages as they go out, without the end of their list."""
    fields = RequestFields("vllm", temperature=0.2, priority=None)
    thinking = Thinking(ThinkingLimits())
    body = fields.body(
        one, "data:image/jpeg;base64,xx", model="m", context=None, tokens=None, thinking=thinking
    )
    return json.dumps(json.loads(body)["messages"]).encode()[:-1]


def test_prompts_about_a_held_frame_begin_with_all_of_the_one_before() -> None:
    """Byte by byte: system, picture, turns as they grow, question last. So a server computes only what is new."""
    held = dataclasses.replace(request().picture, held=True)
    before = b""
    for n in range(5):
        one = request(f"  Question {n} of many words here? ", picture=held, turns=TURNS[:n])
        now = sent(one)
        assert now.startswith(before), n
        assert len(now) > len(before)
        before = now
    found = json.loads(before + b"]")
    assert [part["type"] for part in found[1]["content"]] == ["image_url", "text"]
    assert found[1]["content"][1]["text"] == TURNS[0].question
    assert found[-1] == {"role": "user", "content": "Question 4 of many words here?"}


def test_prompts_about_fresh_frames_have_the_picture_last() -> None:
    """The common part of all requests, system text and turns, comes before it."""
    one, two = (json.loads(sent(request("Now?", turns=TURNS[:n])) + b"]") for n in (2, 3))
    assert one[:-1] == two[: len(one) - 1]
    assert all(isinstance(message["content"], str) for message in two[:-1])
    assert [part["type"] for part in two[-1]["content"]] == ["image_url", "text"]


async def test_the_end_says_nothing_was_left_out(fake: FakeOpenAI, engine: OpenAIEngine) -> None:
    """In the usual case."""
    end = (await collect(engine, request(turns=TURNS)))[1]
    assert isinstance(end, Finished)
    assert end.left_out == 0

"""Requests without a token go to a model server again, and others do not."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest

from server.core.errors import EngineError, EngineLoading, EngineRefused, EngineUnavailable
from server.core.frames import JobKind
from server.models.base import EngineState, Finished
from server.models.openai import engine as engine_module
from server.models.openai import negotiation
from server.models.openai.engine import OpenAIEngine
from server.models.openai.upstream import LONGEST_WAIT, Reason
from tests.models.asking import REPEATING, Build, collect, request
from tests.support.fakes_openai import Behaviour, FakeOpenAI

QUESTION = request(id="4711")


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their own length: test_upstream.py."""
    monkeypatch.setattr(engine_module, "_PAUSES", (0.01, 0.02))


class Counting(FakeOpenAI):
    """Behaves as told for the first `times` questions, then normally."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        self.first = Behaviour.NORMAL

    def misbehave(self, behaviour: Behaviour, times: int) -> None:
        self.first, self.times = behaviour, times

    @property
    def behaviour(self) -> Behaviour:
        return self.first if self.count <= self.times else Behaviour.NORMAL

    @behaviour.setter
    def behaviour(self, value: Behaviour) -> None:
        """Set by the base class alone."""


@pytest.fixture
async def fake() -> AsyncIterator[Counting]:
    server = Counting()
    async with server:
        yield server


@pytest.fixture
async def retried() -> list[Reason]:
    return []


@pytest.fixture
async def engine(build: Build, retried: list[Reason]) -> OpenAIEngine:
    one = build(limits=REPEATING, session_key=str, on_retry=retried.append)
    await one.probe()
    return one


async def answer(engine: OpenAIEngine) -> str:
    async with asyncio.timeout(20):
        return "".join((await collect(engine, QUESTION))[0])


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour.BUSY, Reason.BUSY),
        (Behaviour.FULL_EVENT, Reason.BUSY),
        (Behaviour.DIES_FIRST, Reason.BROKEN),
        (Behaviour.ENDS_FIRST, Reason.BROKEN),
        (Behaviour.HANGS_UP, Reason.BROKEN),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
async def test_a_failure_before_the_first_token_is_not_seen(
    fake: Counting,
    engine: OpenAIEngine,
    retried: list[Reason],
    behaviour: Behaviour,
    reason: Reason,
    times: int,
) -> None:
    """The same request, picture included, goes out again, and each repeat is counted."""
    fake.misbehave(behaviour, times)
    assert await answer(engine) == "I see a cup."
    assert retried == [reason] * times
    assert fake.count == times + 1
    assert len({str(seen.body) for seen in fake.requests}) == 1
    ids = ["4711", "4711-1", "4711-2"]
    assert [seen.headers["x-request-id"] for seen in fake.requests] == ids[: times + 1]
    assert engine.status.ready


async def test_the_third_failure_is_the_answer(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason]
) -> None:
    fake.misbehave(Behaviour.BUSY, 9)
    with pytest.raises(EngineUnavailable, match="503"):
        await answer(engine)
    assert (fake.count, len(retried)) == (3, 2)


@pytest.mark.parametrize("kind", [JobKind.WATCH, JobKind.DESCRIBE, JobKind.PREFILL])
async def test_background_work_only_gets_another_connection(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason], kind: JobKind
) -> None:
    """It comes again by itself, and a busy server gets no more of it."""
    question = dataclasses.replace(QUESTION, kind=kind)
    fake.misbehave(Behaviour.HANGS_UP, 1)
    await collect(engine, question)
    assert retried == [Reason.BROKEN]
    fake.misbehave(Behaviour.BUSY, 9)
    with pytest.raises(EngineUnavailable):
        await collect(engine, question)
    assert retried == [Reason.BROKEN]


@pytest.mark.parametrize("token", ["", "\n", "<think>", "<|im_end|>"])
async def test_a_picture_ahead_needs_no_word(
    fake: Counting, engine: OpenAIEngine, token: str
) -> None:
    """Its prompt was computed, whatever the one token is; a question's answer without a word is an error."""
    fake.answer_for = lambda _body, _jpeg: [token]
    fake.finish_reason = "length"
    _, end = await collect(
        engine, dataclasses.replace(QUESTION, kind=JobKind.PREFILL, max_tokens=1)
    )
    assert isinstance(end, Finished)
    with pytest.raises(EngineRefused):
        await answer(engine)


async def test_a_server_that_loads_is_waited_for(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as a model may take, where somebody waits for the answer."""
    monkeypatch.setattr(negotiation, "LOADING_PAUSE", 0.05)
    fake.misbehave(Behaviour.LOADING, 99)
    with pytest.raises(EngineLoading):
        await collect(engine, dataclasses.replace(QUESTION, kind=JobKind.WATCH))
    asked = asyncio.create_task(answer(engine))
    while len(retried) < 3:
        await asyncio.sleep(0.01)
    assert engine.status.state is EngineState.LOADING
    fake.misbehave(Behaviour.NORMAL, 0)
    assert await asked == "I see a cup."
    assert set(retried) == {Reason.LOADING}


@pytest.mark.parametrize(
    "behaviour", [Behaviour.DIES, Behaviour.ENDS_EARLY, Behaviour.ERROR_LATER, Behaviour.STALLS]
)
async def test_nothing_is_sent_again_after_the_first_token(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason], behaviour: Behaviour
) -> None:
    fake.misbehave(behaviour, 1)
    engine.limits = dataclasses.replace(REPEATING, between_tokens=0.3)
    with pytest.raises(EngineError):
        await answer(engine)
    assert (fake.count, retried) == (1, [])


async def test_a_long_wait_is_not_waited_for(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason]
) -> None:
    """A 429 may ask for a longer one than a picture stays fresh."""
    fake.misbehave(Behaviour.RATE_LIMITED, 9)
    with pytest.raises(EngineUnavailable):
        await answer(engine)
    assert retried == []


async def test_a_429_is_waited_for(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason]
) -> None:
    fake.retry_after = 0.2
    fake.misbehave(Behaviour.RATE_LIMITED, 1)
    assert await answer(engine) == "I see a cup."
    assert retried == [Reason.BUSY]
    first, second = fake.requests
    assert second.arrived - first.arrived >= 0.2


async def test_a_cancelled_question_is_not_sent_again(
    fake: Counting, engine: OpenAIEngine, retried: list[Reason]
) -> None:
    """Neither while it waits for its repeat nor later."""
    fake.retry_after = LONGEST_WAIT
    fake.misbehave(Behaviour.RATE_LIMITED, 1)
    task = asyncio.create_task(answer(engine))
    seen = await fake.wait_for(1)
    await seen.done.wait()
    while not retried:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert fake.count == 1


async def test_a_repeat_has_the_rest_of_the_questions_time(fake: Counting, build: Build) -> None:
    """The time for the first token does not begin anew."""
    limits = dataclasses.replace(REPEATING, first_token=0.8)
    engine = build(limits=limits)
    fake.misbehave(Behaviour.BUSY, 1)
    fake.first_token = 60.0
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(EngineError, match="did not begin"):
        await answer(engine)
    assert fake.count == 2
    assert loop.time() - began < 0.8 + 0.7

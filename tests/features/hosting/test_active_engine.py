"""The place in the selector that delegates to whatever model is loaded."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from server.core.errors import (
    EngineFailed,
    EngineLoading,
    EngineRefused,
    EngineUnavailable,
)
from server.features.hosting import active_engine
from server.features.hosting.active_engine import NO_MODEL_DETAIL, ActiveEngine
from server.models.base import Chunk, Delta, EngineState, EngineStatus
from tests.support.fakes import FakeEngine, engine_error, make_request, until
from tests.support.timing import NEVER_SECONDS, at_once


async def collect(place: ActiveEngine, into: list[Chunk]) -> None:
    async for chunk in place.answer(make_request()):
        into.append(chunk)


async def test_empty_it_says_how_to_load_one() -> None:
    place = ActiveEngine()
    assert (await place.probe()).state is EngineState.UNREACHABLE
    assert place.status.detail == NO_MODEL_DETAIL
    with pytest.raises(EngineUnavailable, match="engine panel"):
        await collect(place, [])
    place.deactivate(EngineState.LOADING, "A model is being loaded.")
    with pytest.raises(EngineLoading, match="being loaded") as caught:
        await collect(place, [])
    assert caught.value.retry_after


async def test_loaded_it_is_that_engine() -> None:
    place, engine = ActiveEngine(), FakeEngine("vllm")
    place.activate(engine, "a/model", lambda found: dataclasses.replace(found, context_length=77))
    assert (place.name, place.status.model) == ("local", "a/model")
    assert place.status.capabilities.context_length == 77
    got: list[Chunk] = []
    await collect(place, got)
    assert "".join(chunk.text for chunk in got if isinstance(chunk, Delta)) == "A red cup."
    await place.close()
    assert not engine.closed


async def test_leaving_ends_answers_at_once() -> None:
    """With one sentence; before the first piece another engine may answer."""
    place, engine = ActiveEngine(), FakeEngine(first_token=0.0, between=60)
    place.activate(engine, "m")
    got: list[Chunk] = []
    talking = asyncio.create_task(collect(place, got))
    await until(lambda: bool(got))
    engine.first_token = 60
    waiting = asyncio.create_task(collect(place, []))
    await until(lambda: engine.open == 2)
    place.deactivate(EngineState.UNREACHABLE, "gone", "m was stopped by an operator in mid-answer.")
    with pytest.raises(EngineFailed, match="stopped by an operator in mid-answer"):
        await talking
    with pytest.raises(EngineUnavailable, match=r"^gone$"):
        await waiting
    assert (engine.open, engine.aborted) == (0, 2)
    assert place.status.detail == "gone"


async def test_an_answer_that_nobody_reads_on_ends_too() -> None:
    """Its reader was busy with the last piece when the engine was left."""
    place, engine = ActiveEngine(), FakeEngine()
    place.activate(engine, "m")
    answer = place.answer(make_request())
    await anext(answer)
    place.deactivate(EngineState.UNREACHABLE, "gone", "stopped")
    place.activate(FakeEngine(), "other")
    with pytest.raises(EngineFailed, match="stopped"):
        await anext(answer)
    assert engine.open == 0


async def test_a_reader_that_goes_closes_the_stream() -> None:
    place, engine = ActiveEngine(), FakeEngine(between=60)
    place.activate(engine, "m")
    answer = place.answer(make_request())
    await anext(answer)
    await answer.aclose()
    assert (engine.open, engine.aborted) == (0, 1)


async def test_a_broken_answer_waits_for_the_reason() -> None:
    """The connection breaks a moment before the process has ended: the sentence is about that."""
    place = ActiveEngine()
    engine = FakeEngine(fail_at=1, fail_with=engine_error(EngineFailed))
    place.activate(engine, "m")
    task = asyncio.create_task(collect(place, []))
    await until(lambda: engine.open == 0 and bool(engine.requests))
    place.deactivate(EngineState.LOADING, "starting again", "m ended unexpectedly.")
    with pytest.raises(EngineFailed, match="ended unexpectedly"):
        await task


async def test_a_refusal_is_passed_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request's own fault has nothing to do with the process."""
    monkeypatch.setattr(active_engine, "_NOTICE_SECONDS", NEVER_SECONDS)
    place = ActiveEngine()
    place.activate(FakeEngine(fail_at=0, fail_with=engine_error(EngineRefused)), "m")
    async with at_once():
        with pytest.raises(EngineRefused):
            await collect(place, [])


async def test_a_look_at_the_one_before_says_nothing_of_the_next() -> None:
    """It was asked while it was stopped, and another had its place when it was found to be gone."""
    place, asked, go = ActiveEngine(), asyncio.Event(), asyncio.Event()

    class Slow(FakeEngine):
        async def probe(self) -> EngineStatus:
            asked.set()
            await go.wait()
            return await super().probe()

    place.activate(Slow(ready=False), "old")
    looking = asyncio.create_task(place.probe())
    await asked.wait()
    place.activate(FakeEngine(), "new")
    go.set()
    assert (await looking).model == "new"
    await asyncio.sleep(0.01)
    assert place.get_silent_seconds() == 0


async def test_a_silent_engine_is_noticed_and_does_not_name_settings() -> None:
    """The detail names this model; the silence lasts until the engine answers again."""
    place, engine = ActiveEngine(), FakeEngine(ready=False)
    place.activate(engine, "m")
    await place.probe()
    await asyncio.sleep(0.02)
    assert place.get_silent_seconds() >= 0.02
    assert place.status.detail.startswith("m does not answer.")
    engine.ready = True
    await place.probe()
    assert place.get_silent_seconds() == 0
    # One that is too busy for a look, and answers.
    engine.ready = False
    await place.probe()
    await collect(place, [])
    assert place.get_silent_seconds() == 0

"""A model that makes videos in the manager's hands: loaded, stopped, started again."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from server.core.errors import EngineRefused, WrongModel
from server.features.generation.generator import GenerationRuntime
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import Ability, Model, ModelType, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime
from server.features.hosting.status import ManagerState
from server.models.base import EngineState
from tests.support.clients import soon
from tests.support.engine_plans import WAN, Managed, managed
from tests.support.fakes import make_request

ROOT = Path(__file__).parents[3]


def plan(chosen: Choice, ram: int = 0, gpu: Sequence[int] = ()) -> Plan:
    """Return a plan for a stand-in worker with the behaviour that follows "/" in the model."""
    manner = chosen.model.partition("/")[2]
    argv = (sys.executable, "-m", "tests.generating.stand_in", manner)
    return Plan(chosen, Launch(argv, {}, "worker"), WAN)


def load(plan: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
    assert isinstance(plan.model, Model)
    launch = plan.launch
    return GenerationRuntime(
        plan.model, launch.argv, launch.env, on_line=on_line, on_progress=on_progress
    )


@asynccontextmanager
async def started(manner: str) -> AsyncIterator[Managed]:
    async with managed(planner=plan, loader=load) as one:
        await one.manager.start(Choice(model=f"tests/{manner}", mode=RunMode.IN_PROCESS))
        await one.manager.wait_settled()
        yield one


def generating(one: Managed) -> GenerationRuntime:
    loaded = one.manager.ready_runtime
    assert isinstance(loaded, GenerationRuntime)
    return loaded


async def test_it_is_loaded_and_stopped() -> None:
    """Phases and log are reported."""
    async with started("video") as one:
        status = one.manager.get_status()
        assert (status.state, status.model_type) == (ManagerState.READY, ModelType.VIDEO)
        phases = [*dict.fromkeys(s.progress.phase for s in one.seen if s.progress is not None)]
        assert phases == ["starting", "loading weights"]
        await soon(lambda: "a line of its log" in one.lines)
        loaded = generating(one)
        await one.manager.stop()
        assert one.manager.ready_runtime is None
        assert loaded._worker.pid is None


async def test_questions_go_to_another_engine() -> None:
    """It is never the one that answers, is not taken for one that hangs, and says what it is."""
    async with started("video") as one:
        place = one.manager.active
        assert one.engines.current is one.spare
        assert place.status.state is EngineState.BUSY
        assert not place.status.capabilities.images
        for _ in range(3):
            await place.probe()
        assert place.get_silent_seconds() == 0
        with pytest.raises(EngineRefused, match=r"a video model.*answers questions.*engine panel"):
            async with aclosing(place.answer(make_request())) as chunks:
                await anext(chunks)
        with pytest.raises(WrongModel, match="for images"):
            one.manager.require(Ability.IMAGES)
        assert one.manager.require(Ability.TEXT_TO_VIDEO) is WAN


async def test_one_that_ends_is_started_again() -> None:
    """Like any other model, with what to do where memory was short."""
    async with started("dies") as one:
        first = generating(one)
        messages = first.make({"prompt": "x"})
        with pytest.raises(Exception, match="SIGKILL"):
            async for _ in messages:
                pass
        await soon(lambda: one.manager.ready_runtime not in (None, first))
        assert any("VAE tiling" in seen.error for seen in one.seen)


async def test_one_that_was_ended_to_cancel_its_work_is_no_crash(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It stays loaded, in a new process; what is asked meanwhile is done there."""
    monkeypatch.setattr("server.features.generation.generator.CANCEL_SECONDS", 0.1)
    async with started("deaf") as one:
        loaded = generating(one)
        rules, seen = loaded.rules, {loaded._worker.pid}
        for _ in range(2):
            messages = loaded.make({"prompt": "x"})
            await anext(messages)
            await messages.aclose()
            await soon(lambda: loaded._worker.pid not in (None, *seen))
            seen.add(loaded._worker.pid)
        assert one.manager.ready_runtime is loaded
        assert not any(seen.error for seen in one.seen)
        assert loaded.rules == rules
        await one.manager.stop()
        assert loaded._worker.pid is None
        assert loaded.ended.is_set()

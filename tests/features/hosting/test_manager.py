"""One model at a time, with real processes; a small stand-in server plays the engines."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from server.core.errors import BadRequest, Conflict, Draining, EngineError, EngineFailed, WrongModel
from server.features.hosting.catalogue.choice import Choice, CommandError
from server.features.hosting.catalogue.entry import Ability, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.planner import find_port
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime
from server.features.hosting.server_runtime import RemoteRuntime
from server.features.hosting.status import ManagerState
from server.models.base import Chunk, Delta, Engine
from server.models.thinking import ThinkingLimits
from tests.support.clients import soon
from tests.support.engine_plans import Managed, choice, managed, plan, settled, stand_in
from tests.support.fakes import FakeEngine, make_request
from tests.support.fakes_openai import FakeOpenAI
from tests.support.gpu_stand_in import GpuStandIn
from tests.support.timing import AT_ONCE_SECONDS, NEVER_SECONDS, at_once


@pytest.fixture
async def one() -> AsyncIterator[Managed]:
    async with managed() as one:
        yield one


async def ask(one: Managed, into: list[Chunk]) -> None:
    async for chunk in one.engines.current.answer(make_request()):
        into.append(chunk)


async def asking(one: Managed, least: int = 1) -> tuple[list[Chunk], asyncio.Task[None]]:
    """Ask, and return when so many chunks have come: all that come, and what reads them."""
    got: list[Chunk] = []
    task = asyncio.create_task(ask(one, got))
    await soon(lambda: len(got) >= least)
    return got, task


def key_of(one: Managed) -> str:
    return one.plan().launch.env["VLLM_API_KEY"]


async def sent(one: Managed) -> int:
    """Words that the loaded stand-in has sent so far."""
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {key_of(one)}"}
        answer = await client.get(
            f"http://127.0.0.1:{one.plan().launch.port}/sent", headers=headers
        )
        return int(answer.json()["sent"])


async def test_a_slow_machine_gets_smaller_pictures() -> None:
    """The share of visual tokens in the command is the loaded engine's."""

    def slow(chosen: Choice) -> Plan:
        made = plan(chosen)
        return dataclasses.replace(
            made, launch=dataclasses.replace(made.launch, picture_share=0.25)
        )

    async with managed(planner=slow) as one:
        await one.manager.start(choice("serve"))
        await settled(one, ManagerState.READY)
        assert one.manager.active.status.capabilities.picture_share == 0.25


async def test_a_model_is_loaded_answers_and_is_stopped(one: Managed) -> None:
    """The whole life: progress from the log, the answer, nothing left of it."""
    assert one.manager.get_status().state is ManagerState.IDLE
    began = await one.manager.start(choice("serve"))
    assert began.state is ManagerState.LOADING
    assert began.shown.startswith("VLLM_API_KEY=********")
    ready = await one.manager.wait_settled()
    assert (ready.state, ready.model, ready.mode) == (
        ManagerState.READY,
        "tests/serve",
        RunMode.SUBPROCESS,
    )
    assert {status.progress.percent for status in one.seen if status.progress} >= {100.0}
    await soon(lambda: one.engines.current is one.manager.active)
    got, task = await asking(one, 2)
    assert isinstance(got[0], Delta)
    assert got[0].text.startswith("0")
    task.cancel()
    await asyncio.wait([task])
    # Cancelled here, it stops there.
    before = -1
    async with asyncio.timeout(30):
        while (now := await sent(one)) != before:
            before = now
            await asyncio.sleep(0.3)
    assert before < 100
    pid, key = one.pid(), key_of(one)
    idle = await one.manager.stop()
    assert idle.state is ManagerState.IDLE
    assert not Path(f"/proc/{pid}").exists()
    assert one.engines.current is one.spare
    assert one.states() == ["loading", "ready", "stopping", "idle"]
    assert not any(key in line for line in one.lines)


async def test_another_model_takes_its_place(one: Managed) -> None:
    """The first has ended before the second begins; an answer that runs gets the reason of its end."""
    await one.load("serve")
    await soon(lambda: one.engines.current is one.manager.active)
    first = one.pid()
    _, task = await asking(one)
    await one.manager.start(choice("dies-not"))
    with pytest.raises(EngineFailed, match="was stopped by an operator in mid-answer"):
        await task
    ready = await one.manager.wait_settled()
    assert (ready.state, ready.model) == (ManagerState.READY, "tests/dies-not")
    assert not Path(f"/proc/{first}").exists()
    assert one.states() == ["loading", "ready", "stopping", "loading", "ready"]


async def test_starting_gives_up_what_is_being_loaded(one: Managed) -> None:
    await one.manager.start(choice("slow"))
    await soon(lambda: one.loaded() is not None and bool(one.lines))
    slow = one.pid()
    assert (await one.ready("serve")).model == "tests/serve"
    assert not Path(f"/proc/{slow}").exists()
    await one.manager.start(choice("slow"))
    await one.manager.start(choice("slow"))
    assert (await one.manager.stop()).state is ManagerState.IDLE


async def test_what_can_not_be_changes_nothing(one: Managed) -> None:
    await one.load("serve")
    with pytest.raises(BadRequest, match=r"/nowhere cannot be read\. Give another"):
        await one.manager.start(choice("nothing"))
    assert one.manager.get_status().state is ManagerState.READY
    assert one.manager.get_status().model == "tests/serve"


@pytest.mark.parametrize(
    ("behaviour", "what"),
    [
        ("oom", "The GPU's memory is full. Lower the share of GPU memory (now 0.9)"),
        ("cpu", "It was stopped. This vLLM finds no GPU"),
        ("leaves", "It ended with status 7. Its log says: children"),
        ("raises", "Its log says: RuntimeError: what nobody has seen before. Choose another mode"),
        ("absent", "no-such-program was not found, or is not executable. Install it"),
    ],
)
async def test_a_failure_says_what_to_do_and_who_answers(
    one: Managed, behaviour: str, what: str
) -> None:
    error = await one.fails(choice(behaviour))
    assert error.startswith(f"{behaviour} could not be started. ")
    assert what in error
    got: list[Chunk] = []
    await ask(one, got)
    assert got
    assert one.engines.current is one.spare
    # And from there on.
    await one.ready("serve")
    assert not one.manager.get_status().error


@pytest.mark.slow
async def test_vllm_s_worker_dies_in_mid_answer(one: Managed) -> None:
    """0.32.0 tells an error in the answer and ends with status 0: an end all the same."""
    await one.load("loses_worker")
    with pytest.raises(EngineFailed):
        await ask(one, [])
    await soon(lambda: "Main memory does not hold" in one.manager.get_status().error)
    assert (await one.manager.wait_settled()).state is ManagerState.READY


async def test_kill_9_in_mid_answer(one: Managed) -> None:
    """A clear error at once; the model comes back by itself, the next question works."""
    await one.load("serve")
    await soon(lambda: one.engines.current is one.manager.active)
    _, task = await asking(one, 2)
    os.kill(one.pid(), signal.SIGKILL)
    with pytest.raises(EngineFailed, match=r"serve ended unexpectedly in mid-answer\. It is being"):
        async with at_once():
            await task
    status = one.manager.get_status()
    assert status.state is ManagerState.LOADING
    assert "was ended by SIGKILL" in status.error
    assert (await one.manager.wait_settled()).state is ManagerState.READY
    await soon(lambda: one.engines.current is one.manager.active)
    _, again = await asking(one, 2)
    again.cancel()
    await asyncio.wait([again])


@pytest.mark.slow
async def test_one_that_crashes_again_and_again_is_given_up() -> None:
    async with managed(delays=(0.02, 0.04)) as one:
        await one.manager.start(choice("dies"))
        async with asyncio.timeout(20):
            while (status := await one.manager.wait_settled()).state is not ManagerState.FAILED:
                await asyncio.sleep(0.05)
        assert status.error.startswith("dies ended with status 3.")
        assert "restarted 2 times without success" in status.error
        phases = [s.progress.phase for s in one.seen if s.progress]
        assert [p for p in dict.fromkeys(phases) if "restarting" in p] == [
            "restarting in 0.02 s (1 of 2)",
            "restarting in 0.04 s (2 of 2)",
        ]


@pytest.mark.slow
async def test_one_that_answers_no_look_is_started_again() -> None:
    async with managed(silent_seconds=0.3) as one:
        await one.load("mute")
        first = one.pid()
        await soon(lambda: one.manager.get_status().state is ManagerState.LOADING)
        assert "mute stopped answering and was ended." in one.manager.get_status().error
        assert (await one.manager.wait_settled()).state is ManagerState.READY
        assert one.pid() != first


async def test_a_mistake_of_ours_is_no_end() -> None:
    class Broken(Exception): ...

    def broken(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        if chosen.choice.model.endswith("slow"):
            raise Broken
        return stand_in(chosen, on_line, on_progress)

    async with managed(loader=broken) as one:
        error = await one.fails("slow")
        assert error.startswith("An internal error stopped the model")
        await one.ready("serve")


async def test_what_a_container_leaves_is_removed(tmp_path: Path) -> None:
    """By the runtime's own command, after the program that started it."""
    left, runtime = tmp_path / "left", tmp_path / "docker"
    runtime.write_text(
        f'#!/bin/sh\ncase "$1" in\nrun) touch {left}; shift; exec "$@";;\nrm) rm {left};;\nesac\n'
    )
    runtime.chmod(0o755)

    def contained(chosen: Choice) -> Plan:
        found = plan(chosen)
        argv = (str(runtime), "run", *found.launch.argv)
        launch = dataclasses.replace(found.launch, argv=argv, container="one")
        return dataclasses.replace(found, launch=launch)

    async with managed(planner=contained) as one:
        await one.ready("serve")
        assert left.exists()
        await one.manager.stop()
        assert not left.exists()


async def test_a_taken_port_is_avoided() -> None:
    """One that somebody listens on is not used, also when it is taken only after the look."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert find_port(port) != port
        assert find_port(port, own=port) == port

        def late(chosen: Choice) -> Plan:
            planned.append(chosen.port)
            stolen = port if len(planned) == 1 else chosen.port
            return plan(chosen.model_copy(update={"port": stolen}))

        planned: list[int] = []
        async with managed(planner=late) as one:
            await one.ready("serve")
            assert len(planned) == 2
            assert one.plan().launch.port not in (None, port)

        def always(chosen: Choice) -> Plan:
            planned.append(chosen.port)
            return plan(chosen.model_copy(update={"port": port}))

        planned = []
        async with managed(planner=always) as one:
            error = await one.fails("serve")
            assert "Another program has port" in error
            assert len(planned) == 3


@asynccontextmanager
async def with_gpus(late: float, gpu_free_seconds: float = 10) -> AsyncIterator[Managed]:
    """A model on two cards, loaded; `late`: seconds until their memory is back."""
    gpus = GpuStandIn(late=late)
    async with managed(gpu_free=gpus.free) as one:
        one.manager.context = dataclasses.replace(
            one.manager.context, gpu_free_seconds=gpu_free_seconds
        )
        await one.ready("serve")
        loaded = one.loaded()
        assert loaded is not None
        ended = loaded.ended
        gpus.loaded = lambda: not ended.is_set()
        yield one


async def test_gpu_memory_is_waited_for() -> None:
    """The next model begins when every GPU's is back."""
    async with with_gpus(late=0.6) as one:
        began = time.monotonic()
        await one.ready("dies-not")
        assert time.monotonic() - began > 0.6


async def test_gpu_memory_that_does_not_come_back_is_not_waited_for_long() -> None:
    """Somebody else has it."""
    async with with_gpus(late=60, gpu_free_seconds=0.4) as one:
        began = time.monotonic()
        await one.manager.stop()
        assert 0.4 < time.monotonic() - began < AT_ONCE_SECONDS


async def test_nobody_waits_for_gpu_memory_at_the_end() -> None:
    gone = with_gpus(late=NEVER_SECONDS, gpu_free_seconds=NEVER_SECONDS)
    async with gone as one, at_once():
        await one.manager.close()


async def test_a_stranger_at_the_port_is_sent_nothing() -> None:
    async with FakeOpenAI() as stranger:

        def late(chosen: Choice) -> Plan:
            planned.append(chosen.port)
            stolen = stranger.port if len(planned) == 1 else chosen.port
            behaviour = "slow" if len(planned) == 1 else "serve"
            return plan(choice(behaviour, stolen))

        planned: list[int] = []
        # It waits long for what answers at the port to become the model that was started.
        patient = partial(stand_in, wrong_seconds=NEVER_SECONDS)
        async with managed(planner=late, loader=patient) as one:
            # Nobody waits until it is sure to be a stranger.
            async with at_once():
                ready = await one.ready("slow")
            assert ready.model == "tests/serve"
            assert one.plan().launch.port not in (None, stranger.port)
            # The shown command is the one that runs.
            assert ready.shown.endswith(str(one.plan().launch.port))
        assert stranger.probes
        assert stranger.count == 0


async def test_one_that_does_not_take_its_own_key() -> None:
    def impatient(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        started.append(chosen.launch.port)
        return stand_in(chosen, on_line, on_progress, wrong_seconds=0.3)

    started: list[int | None] = []
    async with managed(loader=impatient) as one:
        error = await one.fails("locked")
        assert "locked could not be started. It answers, but not as an" in error
        assert len(started) == 1


async def test_what_can_not_be_planned_elsewhere_is_told() -> None:
    """The port is taken, and the model's folder has gone meanwhile: the first sentence holds."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        planned: list[int] = []

        def once(chosen: Choice) -> Plan:
            planned.append(chosen.port)
            if len(planned) > 1:
                raise CommandError("The folder has gone.")
            return plan(chosen.model_copy(update={"port": taken.getsockname()[1]}))

        async with managed(planner=once) as one:
            error = await one.fails("serve")
            assert error.startswith("serve could not be started. It ended with status 1.")
            assert "Another program has port" in error


async def test_what_is_stopped_before_it_begins_does_not_begin() -> None:
    go = threading.Event()

    def slowly(chosen: Choice) -> Plan:
        go.wait(10)
        return plan(chosen)

    async with managed(planner=slowly) as one:
        starting = asyncio.create_task(one.manager.start(choice("serve")))
        beginning = asyncio.create_task(one.manager.start_from_settings(choice("serve")))
        await asyncio.sleep(0.05)
        assert (await one.manager.stop()).state is ManagerState.IDLE
        go.set()
        with pytest.raises(Conflict, match="serve was stopped by an operator before it began"):
            await starting
        # The start from the settings ends without reporting a failure.
        await beginning
        assert one.manager.get_status().state is ManagerState.IDLE
        assert one.loaded() is None
        # And after it, as ever
        await one.ready("serve")


async def test_two_operators_at_once(one: Managed) -> None:
    await asyncio.gather(
        *(one.manager.start(choice(name)) for name in ("slow", "serve", "slow", "dies-not"))
    )
    ready = await one.manager.wait_settled()
    assert (ready.state, ready.model) == (ManagerState.READY, "tests/dies-not")
    idle = await asyncio.gather(one.manager.stop(), one.manager.stop())
    assert {status.state for status in idle} == {ManagerState.IDLE}


class Held:
    """A model that is ready when the test says so; `broken` raises when it is stopped."""

    def __init__(self, *, broken: bool = False) -> None:
        self.engine: Engine = FakeEngine("local")
        self.ended = asyncio.Event()
        self.go = asyncio.Event()
        self._broken = broken

    async def start(self) -> None:
        await self.go.wait()
        if self._broken:
            raise ZeroDivisionError

    async def stop(self) -> None:
        self.ended.set()
        if self._broken:
            raise ZeroDivisionError

    def explain_end(self) -> str:
        return "ended."


async def test_stopping_in_the_moment_of_getting_ready() -> None:
    held = Held()
    async with managed(loader=lambda *_: held) as one:
        await one.manager.start(choice("serve"))
        await soon(lambda: one.loaded() is not None)
        await asyncio.sleep(0.05)
        stopping = asyncio.create_task(one.manager.stop())
        await asyncio.sleep(0)
        held.go.set()
        assert (await stopping).state is ManagerState.IDLE


async def test_a_mistake_while_it_is_stopped_is_no_end_either() -> None:
    """Neither after a mistake while it was started, nor when an operator stops it."""
    models = [Held(broken=True), Held(broken=True)]
    models[0].go.set()

    def loader(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Runtime:
        return models.pop(0) if models else stand_in(chosen, on_line, on_progress)

    async with managed(loader=loader) as one:
        error = await one.fails("serve")
        assert error.startswith("An internal error stopped the model")
        await one.manager.start(choice("serve"))
        await asyncio.sleep(0.05)
        await one.ready("serve")


async def test_a_mistake_of_ours_in_the_moment_of_getting_ready(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It fails the model that was about to answer, is logged, and the next model loads."""
    models = [Held(), Held()]
    for held in models:
        held.go.set()
    async with managed(loader=lambda *_: models.pop(0)) as one:
        with monkeypatch.context() as broken:

            def fail() -> None:
                raise ZeroDivisionError("secret words")

            broken.setattr(one.engines, "reprobe", fail)
            error = await one.fails("serve")
        assert error.startswith("An internal error stopped the model")
        assert "model task failed" in caplog.text
        assert "secret words" not in caplog.text
        await one.ready("serve")


async def test_one_that_runs_elsewhere_is_not_started_again() -> None:
    """It is called as its server says; while away it is waited for, and then used again."""

    def remote(chosen: Plan, _line: OnLine, _progress: OnProgress) -> Runtime:
        return RemoteRuntime(chosen, api_key="", thinking=ThinkingLimits(), machines={})

    async with FakeOpenAI(model="their/model") as server:
        chosen = Choice(mode=RunMode.REMOTE, url=server.base_url)
        where = f"127.0.0.1:{server.port}"
        launch = Launch((), {}, "Nothing is started.", base_url=server.base_url)
        async with managed(
            planner=lambda *_: Plan(chosen, launch), loader=remote, silent_seconds=0.2
        ) as one:
            began = await one.manager.start(chosen)
            assert began.model == f"the first model at {where}"
            ready = await one.manager.wait_settled()
            assert (ready.state, ready.model) == (ManagerState.READY, "their/model")
            assert one.manager.active.status.model == "their/model"
            await soon(lambda: one.engines.current is one.manager.active)
            await server.close()
            await soon(lambda: one.engines.current is one.spare)
            await soon(
                lambda: "does not answer. It is a remote server" in one.manager.get_status().error
            )
            await asyncio.sleep(0.5)
            assert one.manager.get_status().state is ManagerState.READY
            server.models = ["another/model"]
            await server.start()
            await soon(lambda: one.engines.current is one.manager.active)
            await soon(lambda: not one.manager.get_status().error)
            assert one.manager.get_status().model == "another/model"
            assert one.states() == ["loading", "ready"]


async def test_an_operation_that_the_model_can_not_do(one: Managed) -> None:
    with pytest.raises(
        WrongModel, match=r"No model is loaded\. This needs a model for text to video"
    ):
        one.manager.require(Ability.TEXT_TO_VIDEO)
    await one.load("serve")
    assert one.manager.require(Ability.IMAGES).id == "tests/serve"
    with pytest.raises(WrongModel) as caught:
        one.manager.require(Ability.TEXT_TO_VIDEO)
    assert caught.value.message == (
        "serve is loaded, a vision model. This needs a model for text to video. Start one in the engine panel; it replaces"
        " the loaded one."
    )
    await one.load("video")
    assert one.manager.require(Ability.TEXT_TO_VIDEO).id == "tests/video"
    assert one.manager.require(Ability.IMAGES, Ability.TEXT_TO_VIDEO).id == "tests/video"
    with pytest.raises(WrongModel, match="a video model"):
        one.manager.require(Ability.IMAGES)
    with pytest.raises(WrongModel, match="for text to speech or text to audio"):
        one.manager.require(Ability.TEXT_TO_SPEECH, Ability.TEXT_TO_AUDIO)
    # It answers no questions: another engine does.
    await soon(lambda: one.engines.current is one.spare)


@pytest.mark.parametrize("behaviour", ["slow", "stubborn"])
async def test_closing_in_the_middle_leaves_nothing(one: Managed, behaviour: str) -> None:
    await one.manager.start(choice(behaviour))
    await soon(lambda: bool(one.lines))
    pid = one.pid()
    await one.manager.close()
    await one.manager.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(Draining):
        await one.manager.start(choice("serve"))


@pytest.mark.slow
async def test_switches_leave_nothing_behind(one: Managed) -> None:
    await one.load("serve")
    await asyncio.sleep(0.05)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for number in range(4):
        await one.ready("serve" if number % 2 else "dies-not")
    await asyncio.sleep(0.05)
    after = len(os.listdir("/proc/self/fd")), threading.active_count()
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 1


async def test_a_question_while_it_loads(one: Managed) -> None:
    """Asked directly it says that it is being loaded."""
    await one.manager.start(choice("slow"))
    with pytest.raises(EngineError, match="slow is being loaded"):
        async for _ in one.manager.active.answer(make_request()):
            pass

"""One model at a time, with real processes; a small stand-in server plays the engines."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from server.catalogue.command import Choice
from server.catalogue.entry import Ability, RunMode
from server.engines.base import Chunk, Delta
from server.engines.loaded import Loaded, OnLine, OnProgress
from server.engines.manager_status import ManagerState, Plan
from server.engines.planner import usable_port
from server.errors import BadRequest, Draining, EngineError, EngineFailed, WrongModel
from tests.engine_plans import Managed, choice, managed, plan, stand_in
from tests.fakes import make_request


async def soon(check: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not check():
            await asyncio.sleep(0.01)


async def ask(one: Managed, into: list[Chunk]) -> None:
    async for chunk in one.engines.current.answer(make_request()):
        into.append(chunk)


def key_of(one: Managed) -> str:
    loaded = one.manager._plan
    assert loaded is not None
    return loaded.launch.env["VLLM_API_KEY"]


async def sent(one: Managed) -> int:
    """Words that the loaded stand-in has sent so far."""
    loaded = one.manager._plan
    assert loaded is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Authorization": f"Bearer {key_of(one)}"}
        answer = await client.get(f"http://127.0.0.1:{loaded.launch.port}/sent", headers=headers)
        return int(answer.json()["sent"])


async def test_a_model_is_loaded_answers_and_is_stopped() -> None:
    """The whole life: progress from the log, the answer, what its memory is, nothing left of it."""
    async with managed() as one:
        assert one.manager.status().state is ManagerState.IDLE
        began = await one.manager.start(choice("serve"))
        assert began.state is ManagerState.LOADING
        assert began.shown.startswith("VLLM_API_KEY=********")
        ready = await one.manager.settled()
        assert (ready.state, ready.model, ready.mode) == (
            ManagerState.READY,
            "tests/serve",
            RunMode.SUBPROCESS,
        )
        assert {status.progress.percent for status in one.seen if status.progress} >= {100.0}
        await soon(lambda: one.engines.current is one.manager.place, 1)
        got: list[Chunk] = []
        task = asyncio.create_task(ask(one, got))
        await soon(lambda: len(got) >= 2)
        assert isinstance(got[0], Delta)
        assert got[0].text.startswith("0")
        task.cancel()
        await asyncio.wait([task])
        # Cancelled here, it stops there.
        await asyncio.sleep(0.15)
        before = await sent(one)
        await asyncio.sleep(0.3)
        assert await sent(one) == before < 100
        await soon(lambda: bool(one.manager.status().memory_bytes))
        pid, key = one.pid(), key_of(one)
        idle = await one.manager.stop()
        assert idle.state is ManagerState.IDLE
        assert idle.released is not None
        assert (idle.released.held or 0) > 2**20
        assert idle.released.left == 0
        assert not Path(f"/proc/{pid}").exists()
        assert one.engines.current is one.spare
        assert one.states() == ["loading", "ready", "stopping", "idle"]
        assert not any(key in line for line in one.lines)
        assert any("gave back" in line for line in one.lines)


async def test_another_model_takes_its_place() -> None:
    """The first has ended before the second begins; an answer that runs is told why it ended."""
    async with managed() as one:
        await one.manager.start(choice("serve"))
        await one.manager.settled()
        await soon(lambda: one.engines.current is one.manager.place)
        first = one.pid()
        got: list[Chunk] = []
        task = asyncio.create_task(ask(one, got))
        await soon(lambda: bool(got))
        await one.manager.start(choice("dies-not"))
        with pytest.raises(EngineFailed, match="was stopped by an operator in mid-answer"):
            await task
        ready = await one.manager.settled()
        assert (ready.state, ready.model) == (ManagerState.READY, "tests/dies-not")
        assert not Path(f"/proc/{first}").exists()
        assert one.states() == ["loading", "ready", "stopping", "loading", "ready"]


async def test_starting_gives_up_what_is_being_loaded() -> None:
    """Nobody waits for the slow one, and nothing of it stays."""
    async with managed() as one:
        await one.manager.start(choice("slow"))
        await soon(lambda: one.manager._loaded is not None and one.lines)
        slow = one.pid()
        await one.manager.start(choice("serve"))
        ready = await one.manager.settled()
        assert (ready.state, ready.model) == (ManagerState.READY, "tests/serve")
        assert not Path(f"/proc/{slow}").exists()
        await one.manager.start(choice("slow"))
        await one.manager.start(choice("slow"))
        assert (await one.manager.stop()).state is ManagerState.IDLE


async def test_what_can_not_be_changes_nothing() -> None:
    """A wrong folder is refused with its sentence, and what is loaded answers on."""
    async with managed() as one:
        await one.manager.start(choice("serve"))
        await one.manager.settled()
        with pytest.raises(BadRequest, match=r"/nowhere can not be read\. Give another"):
            await one.manager.start(choice("nothing"))
        assert one.manager.status().state is ManagerState.READY
        assert one.manager.status().model == "tests/serve"


@pytest.mark.parametrize(
    ("behaviour", "what"),
    [
        ("oom", "The GPU's memory is full. Lower GPU_MEMORY_UTILIZATION (now 0.9)"),
        ("cpu", "It was stopped. This vLLM finds no GPU"),
        ("leaves", "It ended with status 7. Its log says more"),
        ("absent", "no-such-program is not there or may not be run. Install it"),
    ],
)
async def test_a_failure_says_what_to_do_and_who_answers(behaviour: str, what: str) -> None:
    """The sentence ends with the engine that answers meanwhile."""
    async with managed() as one:
        await one.manager.start(choice(behaviour))
        failed = await one.manager.settled()
        assert failed.state is ManagerState.FAILED
        assert failed.error.startswith(f"{behaviour} could not be started. ")
        assert what in failed.error
        assert failed.error.endswith("Meanwhile the builtin engine answers.")
        got: list[Chunk] = []
        await ask(one, got)
        assert got
        assert one.engines.current is one.spare
        # And from there on.
        await one.manager.start(choice("serve"))
        assert (await one.manager.settled()).state is ManagerState.READY
        assert not one.manager.status().error


async def test_kill_9_in_mid_answer() -> None:
    """The answer ends at once with a clear error, the model comes back by itself, the next question works."""
    async with managed() as one:
        await one.manager.start(choice("serve"))
        await one.manager.settled()
        await soon(lambda: one.engines.current is one.manager.place)
        got: list[Chunk] = []
        task = asyncio.create_task(ask(one, got))
        await soon(lambda: len(got) > 1)
        began = time.monotonic()
        os.kill(one.pid(), signal.SIGKILL)
        with pytest.raises(
            EngineFailed, match=r"serve ended unexpectedly in mid-answer\. It is st"
        ):
            await task
        assert time.monotonic() - began < 2
        status = one.manager.status()
        assert status.state is ManagerState.LOADING
        assert "was ended by SIGKILL" in status.error
        assert (await one.manager.settled()).state is ManagerState.READY
        await soon(lambda: one.engines.current is one.manager.place)
        got.clear()
        again = asyncio.create_task(ask(one, got))
        await soon(lambda: len(got) > 1)
        again.cancel()
        await asyncio.wait([again])


async def test_one_that_crashes_again_and_again_is_given_up() -> None:
    """So many times with pauses between, then a sentence."""
    async with managed(delays=(0.02, 0.04)) as one:
        await one.manager.start(choice("dies"))
        async with asyncio.timeout(20):
            while (status := await one.manager.settled()).state is not ManagerState.FAILED:
                await asyncio.sleep(0.05)
        assert status.error.startswith("dies ended with status 3.")
        assert "started again 2 times and is given up" in status.error
        phases = [s.progress.phase for s in one.seen if s.progress]
        assert [p for p in dict.fromkeys(phases) if "again" in p] == [
            "starting again in 0.02 s (1 of 2)",
            "starting again in 0.04 s (2 of 2)",
        ]


async def test_one_that_answers_no_look_is_started_again() -> None:
    """It runs and does not listen any more: it is ended and comes back."""
    async with managed(silent_seconds=0.3) as one:
        await one.manager.start(choice("mute"))
        await one.manager.settled()
        first = one.pid()
        await soon(lambda: one.manager.status().state is ManagerState.LOADING)
        assert "mute did not answer any more and was ended." in one.manager.status().error
        assert (await one.manager.settled()).state is ManagerState.READY
        assert one.pid() != first


async def test_a_mistake_of_ours_is_no_end() -> None:
    """What raises something unforeseen has failed with a sentence, and the next one is loaded."""

    class Broken(Exception): ...

    def broken(chosen: Plan, on_line: OnLine, on_progress: OnProgress) -> Loaded:
        if chosen.choice.model.endswith("slow"):
            raise Broken
        return stand_in(chosen, on_line, on_progress)

    async with managed(loader=broken) as one:
        await one.manager.start(choice("slow"))
        failed = await one.manager.settled()
        assert failed.state is ManagerState.FAILED
        assert failed.error.startswith("Something went wrong inside this program")
        await one.manager.start(choice("serve"))
        assert (await one.manager.settled()).state is ManagerState.READY


async def test_what_a_container_leaves_is_removed(tmp_path: Path) -> None:
    """Once, after the program that started it has ended; its memory is not that of our processes."""
    left = tmp_path / "left"
    left.write_text("")

    def contained(chosen: Choice, ram: int, gpu: int) -> Plan:
        found = plan(chosen)
        launch = dataclasses.replace(
            found.launch, mode=RunMode.CONTAINER, cleanup=("rm", str(left))
        )
        return dataclasses.replace(found, launch=launch)

    async with managed(planner=contained) as one:
        await one.manager.start(choice("serve"))
        assert (await one.manager.settled()).state is ManagerState.READY
        await asyncio.sleep(0.05)
        assert one.manager.status().memory_bytes is None
        assert left.exists()
        await one.manager.stop()
        assert not left.exists()


async def test_a_taken_port_is_avoided() -> None:
    """One that somebody listens on is not used, also when it is taken only after the look."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert usable_port(port) != port
        assert usable_port(port, own=port) == port

        def late(chosen: Choice, ram: int, gpu: int) -> Plan:
            planned.append(chosen.port)
            stolen = port if len(planned) == 1 else chosen.port
            return plan(chosen.model_copy(update={"port": stolen}))

        planned: list[int] = []
        async with managed(planner=late) as one:
            await one.manager.start(choice("serve"))
            ready = await one.manager.settled()
            assert ready.state is ManagerState.READY, ready.error
            assert len(planned) == 2
            assert one.manager._plan is not None
            assert one.manager._plan.launch.port not in (None, port)


async def test_gpu_memory_is_waited_for() -> None:
    """The next model begins when the GPU's memory is back; what came back is told."""
    free = iter([100, 100, 100, 40, 40, 60, 99, 99, 99, 99])
    lock = threading.Lock()

    def gpu_free() -> int:
        with lock:
            return next(free, 99) * 10**9

    async with managed(gpu_free=gpu_free) as one:
        await one.manager.start(choice("serve"))
        await one.manager.settled()
        next(free)
        idle = await one.manager.stop()
        assert idle.released is not None
        assert (idle.released.gpu_before, idle.released.gpu_after) == (40 * 10**9, 99 * 10**9)


async def test_an_operation_that_the_model_can_not_do() -> None:
    """The error names what is loaded, what is needed, an example, and how to switch."""
    async with managed() as one:
        with pytest.raises(
            WrongModel, match=r"No model is loaded\. This needs a model that can make vid"
        ):
            one.manager.require(Ability.TEXT_TO_VIDEO)
        await one.manager.start(choice("serve"))
        await one.manager.settled()
        assert one.manager.require(Ability.IMAGES).id == "tests/serve"
        with pytest.raises(WrongModel) as caught:
            one.manager.require(Ability.TEXT_TO_VIDEO)
        assert caught.value.message == (
            "serve is loaded, a vision model: it can answer questions about pictures. This needs a model that can make"
            " videos from a text (video). Start one in the engine panel: it takes the place of the one that is loaded."
        )
        await one.manager.start(choice("video"))
        await one.manager.settled()
        assert one.manager.require(Ability.TEXT_TO_VIDEO).id == "tests/video"
        with pytest.raises(WrongModel, match="a video model"):
            one.manager.require(Ability.IMAGES)
        # It answers no questions: another engine does.
        await soon(lambda: one.engines.current is one.spare)


@pytest.mark.parametrize("behaviour", ["slow", "stubborn"])
async def test_closing_in_the_middle_leaves_nothing(behaviour: str) -> None:
    """While it loads and while it answers; nothing is started afterwards."""
    async with managed() as one:
        await one.manager.start(choice(behaviour))
        await soon(lambda: one.lines)
        pid = one.pid()
        await one.manager.close()
        await one.manager.close()
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(Draining):
            await one.manager.start(choice("serve"))


async def test_a_listener_that_fails_stops_nobody() -> None:
    """Others hear on, and the model is loaded."""
    async with managed() as one:

        def bad(_: object) -> None:
            raise ZeroDivisionError

        one.manager.on_change(bad)
        stop = one.manager.on_line(bad)
        await one.manager.start(choice("serve"))
        assert (await one.manager.settled()).state is ManagerState.READY
        stop()
        assert one.lines


async def test_switches_leave_nothing_behind() -> None:
    """Descriptors, threads and processes are those of before."""
    async with managed() as one:
        await one.manager.start(choice("serve"))
        await one.manager.settled()
        await asyncio.sleep(0.05)
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        for number in range(6):
            await one.manager.start(choice("serve" if number % 2 else "dies-not"))
            assert (await one.manager.settled()).state is ManagerState.READY
        await asyncio.sleep(0.05)
        after = len(os.listdir("/proc/self/fd")), threading.active_count()
        assert after[0] <= before[0] + 1
        assert after[1] <= before[1] + 1


async def test_a_question_while_it_loads() -> None:
    """Asked directly it says that it is being loaded."""
    async with managed() as one:
        await one.manager.start(choice("slow"))
        with pytest.raises(EngineError, match="slow is being loaded"):
            async for _ in one.manager.place.answer(make_request()):
                pass

"""One model as it was planned: loaded, watched, started again when it crashes, ended with its memory given back."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from server.catalogue.choice import Choice
from server.catalogue.entry import RunMode
from server.core.aio import TaskSet, in_pool
from server.engines.base import Engine, EngineState
from server.hosting.board import Board
from server.hosting.engine_slot import ELSEWHERE, STARTED_AGAIN, EngineSlot
from server.hosting.planner import usable_port
from server.hosting.runtimes import Loaded, OnLine, OnProgress, StartFailed, refined
from server.hosting.status import ManagerState, Plan, Released, loading_status
from server.processes.log_progress import LoadProgress

log = logging.getLogger(__name__)

# Seconds before a model that crashed is started again; after the last it has failed.
RESTART_DELAYS = (1.0, 5.0, 20.0)
# It is ended and started again when it has not answered for so long.
SILENT_SECONDS = 60.0
# One that was up for so long begins with the first delay again.
_CALM_SECONDS = 300.0
_WATCH_SECONDS = 2.0
# The GPUs' memory is asked about each so many times.
_GPU_TURNS = 5
# A GPU's memory comes back a moment after its process has gone.
_RETURN_SECONDS = 15.0
_RETURNED_SHARE = 0.95
_PORT_TRIES = 3


class Selector(Protocol):
    """Who answers: `EngineSelector`."""

    @property
    def current(self) -> Engine: ...

    def prefer(self, engine: Engine | None) -> None: ...

    def lost(self, engine: Engine) -> None: ...

    def look(self) -> None: ...


# Finds the model and makes the command; blocking. It raises one of the catalogue's errors, which have a `message`.
# Its arguments: the choice, and the bytes of main memory and of each GPU that the model now loaded gives back before.
MakePlan = Callable[[Choice, int, Sequence[int]], Plan]
Loader = Callable[[Plan, OnLine, OnProgress], Loaded]
# Free bytes of each GPU; None where there is no GPU, or it does not tell. Blocking.
GpuFree = Callable[[], Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class Tools:
    """What every run works with; all of it is the manager's."""

    slot: EngineSlot
    engines: Selector
    board: Board
    tasks: TaskSet
    # Where plans are made, which may take minutes, and where memory is read, which must not wait for that
    planning: ThreadPoolExecutor
    measuring: ThreadPoolExecutor
    planner: MakePlan
    loader: Loader
    # What `planner` raises, each with a `message` for people
    refusals: tuple[type[Exception], ...]
    gpu_free: GpuFree
    delays: tuple[float, ...] = RESTART_DELAYS
    silent_seconds: float = SILENT_SECONDS
    return_seconds: float = _RETURN_SECONDS


class ModelRun:
    """`keep` carries it out and may be cancelled at any time; `end` is due in any case.

    `under_way` is told true when it loads (again), and false when it is ready or has failed for good. `beside`: another
    model answers until this one is ready. `fallback`: whoever carries it out goes back to another model when this one
    cannot be loaded. `note`: why it is loaded, where that is no operator's choice.
    """

    def __init__(
        self,
        plan: Plan,
        tools: Tools,
        under_way: Callable[[bool], None],
        *,
        beside: bool = False,
        fallback: bool = False,
        note: str = "",
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        # As it runs: on another port, where the planned one was taken.
        self.plan = plan
        # None while nothing of it is there
        self.loaded: Loaded | None = None
        # Nobody waits for a GPU's memory any more.
        self.hurried = False
        # It answers now; it has answered at some time.
        self.up = self.ready = False
        self._beside, self._fallback, self._note = beside, fallback, note
        self._on_ready = on_ready
        self._tools = tools
        self._under_way = under_way
        # Free memory of the GPUs before it was loaded
        self._gpu_empty: Sequence[int] | None = None
        # Main memory that it held and the GPUs' free memory, when it began to be stopped
        self._held: tuple[int | None, Sequence[int] | None] | None = None

    def go_on(self, note: str) -> None:
        """`keep` is about to be called once more for what is there: another model was to take its place, and could not."""
        self._note = note

    async def keep(self) -> str:
        """Load it and keep it up; returns when it has failed for good.

        The result is why, where there is a fallback and nothing was told yet; else it is empty.
        """
        tools, going_on = self._tools, self.loaded
        if going_on is None:
            self.begin()
            self._gpu_empty = await self._gpu_free()
        crashes, ports = 0, 1
        while True:
            failure: StartFailed | None = None
            loaded = going_on or tools.loader(self.plan, tools.board.line, tools.board.progress)
            self.loaded = loaded
            sampling = tools.tasks.spawn(self._sample(loaded), name="sample")
            try:
                if going_on is None:
                    await loaded.start()
                going_on = None
                crashes = await self._up(loaded, crashes)
                why = self._crashed(loaded, crashes)
            except StartFailed as error:
                failure = error
                why = f"{self.plan.name} could not be started. {error.message}"
            finally:
                sampling.cancel()
            await self._unload()
            if failure is not None:
                if failure.port_taken and ports < _PORT_TRIES and await self._elsewhere():
                    ports += 1
                    continue
                if crashes == 0:
                    if self._fallback and not self.ready:
                        return why
                    self._failed(why)
                    return ""
            if crashes >= len(tools.delays):
                self._failed(
                    f"{why} It was started again {crashes} times and is given up: start it again, or choose another model."
                )
                return ""
            await self._pause(why, crashes)
            crashes += 1

    def begin(self) -> None:
        """Tell that it is being loaded."""
        tools = self._tools
        status = loading_status(self.plan, tools.board.status.released)
        tools.board.show(replace(status, error=self._note))
        if not self._beside:
            tools.slot.leave(EngineState.LOADING, f"{self.plan.name} is being loaded.")

    async def give_up(self, why: str) -> None:
        """End it, and say that it has failed."""
        self.part(EngineState.UNREACHABLE, why, why)
        await self.end()
        self._failed(why)

    def part(self, state: EngineState, detail: str, cut: str) -> None:
        """Nobody is answered by it from now on, for the reason `detail`; answers that have begun end with `cut`."""
        tools = self._tools
        tools.slot.leave(state, detail, cut)
        tools.engines.lost(tools.slot)

    async def end(self, *, silently: bool = False) -> None:
        """Stop what is there; returns when nothing is left of it, or when that could not be done.

        `silently`: the board shows another model.
        """
        board = self._tools.board
        self.up = False
        if self.loaded is not None and not silently:
            board.show(replace(board.status, state=ManagerState.STOPPING, progress=None))
        try:
            await self._unload(silently)
        except Exception as exc:  # noqa: BLE001
            # What could not be stopped must not keep others from being started.
            log.error("a model was not stopped", extra={"error": type(exc).__name__})
            self.loaded = None

    def gives_back(self, gpu_free: Sequence[int] | None) -> tuple[int, ...]:
        """Of each GPU, bytes that are free without it beside those that are free now."""
        empty = self._gpu_empty
        if gpu_free is None or empty is None or len(empty) != len(gpu_free):
            return ()
        return tuple(max(0, before - now) for before, now in zip(empty, gpu_free, strict=True))

    # Up

    async def _up(self, loaded: Loaded, crashes: int) -> int:
        """It answers: returns when it has ended or fallen silent, with the crashes that count from then on."""
        plan, tools = self.plan, self._tools
        remote = plan.choice.mode is RunMode.REMOTE
        tools.slot.use(
            loaded.engine,
            plan.model_id,
            lambda found: refined(found, plan.choice, plan.model),
            ELSEWHERE if remote else STARTED_AGAIN,
        )
        self.up = self.ready = True
        self._beside = False
        now = tools.board.status
        ready = replace(
            loading_status(plan, now.released),
            state=ManagerState.READY,
            progress=None,
            memory_bytes=now.memory_bytes,
            gpu_bytes=now.gpu_bytes,
            error=self._note,
        )
        tools.board.show(replace(ready, model=plan.shown_id(loaded.engine.status.model)))
        tools.engines.look()
        self._on_ready()
        self._under_way(False)
        log.info("a model is loaded", extra={"kind": str(plan.choice.mode)})
        clock = asyncio.get_running_loop().time
        began = clock()
        while not loaded.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_WATCH_SECONDS, tools.silent_seconds)):
                    await loaded.ended.wait()
            if remote:
                # It is not ours to start again; it answers on when it is back.
                self._tell_remote(loaded)
            elif tools.slot.silent_seconds() > tools.silent_seconds:
                break
        return crashes if clock() - began < _CALM_SECONDS else 0

    def _tell_remote(self, loaded: Loaded) -> None:
        board, silent = self._tools.board, self._tools.slot.silent_seconds() > 0
        error = (
            f"{self.plan.name} does not answer at the moment. It is asked again and again, and others answer meanwhile: start"
            f" the server at {self.plan.choice.url}, or choose another model."
        )
        if silent and board.status.error == self._note:
            log.warning("a remote model does not answer", extra={"reason": error})
        model = self.plan.shown_id(loaded.engine.status.model)
        board.show(replace(board.status, model=model, error=error if silent else self._note))

    def _crashed(self, loaded: Loaded, crashes: int) -> str:
        """Tell it; returns why."""
        tools, name = self._tools, self.plan.name
        self.up, self._note = False, ""
        self._under_way(True)
        how = (
            loaded.how_it_ended()
            if loaded.ended.is_set()
            else "did not answer any more and was ended."
        )
        again = " It is started again." if crashes < len(tools.delays) else ""
        log.warning("a model ended unexpectedly", extra={"count": crashes + 1, "reason": how})
        self.part(
            EngineState.LOADING if again else EngineState.UNREACHABLE,
            f"{name} ended unexpectedly.{again}",
            f"{name} ended unexpectedly in mid-answer.{again} Ask again in a moment.",
        )
        tools.board.show(replace(loading_status(self.plan, None), error=f"{name} {how}{again}"))
        return f"{name} {how}"

    async def _pause(self, why: str, crashes: int) -> None:
        delays = self._tools.delays
        phase = f"starting again in {delays[crashes]:g} s ({crashes + 1} of {len(delays)})"
        status = loading_status(self.plan, None)
        self._tools.board.show(replace(status, progress=LoadProgress(phase), error=why))
        await asyncio.sleep(delays[crashes])

    async def _elsewhere(self) -> bool:
        """Plan the same on another port; whether that could be done."""
        tools, choice = self._tools, self.plan.choice
        if self.plan.launch.port is None:
            return False
        try:
            choice = choice.model_copy(update={"port": usable_port(None)})
            self.plan = await in_pool(tools.planning, tools.planner, choice, 0, ())
        except tools.refusals:
            # The one that it could not be started for is told.
            return False
        self.begin()
        return True

    def _failed(self, why: str) -> None:
        tools = self._tools
        why = joined(self._note, why)
        other = tools.engines.current
        meanwhile = (
            f" Meanwhile the {other.name} engine answers."
            if other is not tools.slot and other.status.ready
            else ""
        )
        log.warning(
            "a model could not be loaded",
            extra={"kind": str(self.plan.choice.mode), "reason": why},
        )
        tools.slot.leave(EngineState.UNREACHABLE, why)
        tools.engines.prefer(None)
        failed = replace(loading_status(self.plan, tools.board.status.released), progress=None)
        tools.board.show(replace(failed, state=ManagerState.FAILED, error=why + meanwhile))
        self._under_way(False)

    # Its memory

    async def _unload(self, silently: bool = False) -> None:
        """Stop what is there, wait for its memory, tell what came back. May be cancelled and called again."""
        loaded, board = self.loaded, self._tools.board
        if loaded is None:
            return
        if self._held is None:
            self._held = await self._main_memory(loaded), await self._gpu_free()
        held, gpu_before = self._held
        await loaded.stop()
        left = await self._main_memory(loaded)
        gpu_after = await self._gpu_returned()
        self.loaded = self._held = None
        before, after = _in_all(gpu_before), _in_all(gpu_after)
        released = Released(held, left, before, after)
        status = replace(board.status, released=released)
        board.show(status if silently else replace(status, memory_bytes=None, gpu_bytes=None))
        if held:
            freed = f"{(held - (left or 0)) / 1e6:.0f} MB of main memory"
            board.line(f"{self.plan.name} gave back {freed}.")
        if before is not None and after is not None:
            board.line(f"{self.plan.name} gave back {(after - before) / 1e6:.0f} MB of GPU memory.")

    async def _gpu_returned(self) -> Sequence[int] | None:
        """Free memory of each GPU once it is back, or after a while."""
        clock = asyncio.get_running_loop().time
        due = clock() + self._tools.return_seconds
        empty = self._gpu_empty
        while True:
            free = await self._gpu_free()
            if free is None or empty is None or self.hurried:
                return free
            if all(
                now >= before * _RETURNED_SHARE for now, before in zip(free, empty, strict=False)
            ):
                return free
            if clock() > due:
                log.warning("GPU memory was not given back in time")
                return free
            await asyncio.sleep(0.25)

    async def _sample(self, loaded: Loaded) -> None:
        board, was = self._tools.board, None
        for turn in itertools.count():
            held = await self._main_memory(loaded)
            state, gpu = board.status.state, board.status.gpu_bytes
            # Some GPUs are asked by a program, which takes a second.
            if turn % _GPU_TURNS == 0 or state is not was:
                taken = self.gives_back(await self._gpu_free())
                gpu, was = sum(taken) if taken else None, state
            if self.loaded is loaded:
                board.show(replace(board.status, memory_bytes=held, gpu_bytes=gpu))
            await asyncio.sleep(_WATCH_SECONDS)

    async def _main_memory(self, loaded: Loaded) -> int | None:
        return await in_pool(self._tools.measuring, loaded.memory_bytes)

    async def _gpu_free(self) -> Sequence[int] | None:
        return await in_pool(self._tools.measuring, self._tools.gpu_free)


def joined(*texts: str) -> str:
    """Sentences behind each other; one may end with a command."""
    return " ".join(text if text.endswith(".") else f"{text}." for text in texts if text)


def _in_all(gpus: Sequence[int] | None) -> int | None:
    return None if gpus is None else sum(gpus)

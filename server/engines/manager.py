"""One model at a time: what an operator chose is started, watched, started again when it crashes, stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from server.aio import TaskSet, cancel_and_wait, in_pool
from server.catalogue.command import Choice, Launch
from server.catalogue.entry import Ability, Model, RunMode
from server.engines.base import Engine, EngineState
from server.engines.loaded import Loaded, OnLine, OnProgress, StartFailed, refined
from server.engines.loading import Progress
from server.engines.managed import NOTHING_LOADED, ManagedEngine
from server.engines.manager_board import Board
from server.engines.manager_status import (
    ManagerState,
    ManagerStatus,
    Plan,
    Released,
    loading_status,
    wrong_model,
)
from server.engines.planner import usable_port
from server.errors import BadRequest, Draining

log = logging.getLogger(__name__)

# Seconds before a model that crashed is started again; after the last it has failed.
RESTART_DELAYS = (1.0, 5.0, 20.0)
# One that was up for so long begins with the first delay again.
_CALM_SECONDS = 300.0
# It is ended and started again when it has not answered for so long.
_SILENT_SECONDS = 60.0
_WATCH_SECONDS = 2.0
# A GPU's memory comes back a moment after its process has gone.
_RETURN_SECONDS = 15.0
_RETURNED_SHARE = 0.95
_PORT_TRIES = 3
_OUR_FAULT = "Something went wrong inside this program; its log says where. Start the model again, or choose another."


class Selector(Protocol):
    """Who answers: `EngineSelector`."""

    @property
    def current(self) -> Engine: ...

    def prefer(self, engine: Engine | None) -> None: ...

    def lost(self, engine: Engine) -> None: ...

    def look(self) -> None: ...


# Finds the model and makes the command; blocking. It raises one of the catalogue's errors, which have a `message`.
# Its arguments: the choice, and bytes of main memory and of the GPU that the model now loaded gives back before.
MakePlan = Callable[[Choice, int, int], Plan]
Loader = Callable[[Plan, OnLine, OnProgress], Loaded]


class EngineManager:
    """Everything on the event loop; what blocks runs in `pool`. `close` ends all.

    `refusals`: what `planner` raises, each with a `message` for people. `gpu_free`: bytes of free GPU memory, None where
    there is no GPU; blocking. `known`: models, for examples.
    """

    def __init__(
        self,
        place: ManagedEngine,
        engines: Selector,
        *,
        pool: ThreadPoolExecutor,
        planner: MakePlan,
        loader: Loader,
        refusals: tuple[type[Exception], ...],
        known: Callable[[], Iterable[Model]] = tuple,
        gpu_free: Callable[[], int | None] = lambda: None,
        restart_delays: tuple[float, ...] = RESTART_DELAYS,
        silent_seconds: float = _SILENT_SECONDS,
    ) -> None:
        self.place = place
        self._engines = engines
        self._planner = planner
        self._loader = loader
        self._refusals = refusals
        self._known = known
        self._gpu_free = gpu_free
        self._delays = restart_delays
        self._silent_seconds = silent_seconds
        self._board = Board()
        self._pool = pool
        self._tasks = TaskSet("manager")
        self._planning = asyncio.Lock()
        # What is to run, None for nothing; and what runs or is being started or stopped.
        self._wanted: Plan | None = None
        self._plan: Plan | None = None
        self._loaded: Loaded | None = None
        # Free GPU memory before anything was loaded, and with it
        self._gpu_empty: int | None = None
        self._changed = asyncio.Event()
        # Nothing is under way: idle, ready or failed.
        self._settled = asyncio.Event()
        self._settled.set()
        self._closing = False
        self._worker: asyncio.Task[None] | None = None

    # What there is

    def status(self) -> ManagerStatus:
        return self._board.status

    @property
    def loaded(self) -> Loaded | None:
        """What is ready; None while nothing is."""
        return self._loaded if self._board.status.state is ManagerState.READY else None

    def on_change(self, callback: Callable[[ManagerStatus], None]) -> Callable[[], None]:
        """Be told each new status. The result unsubscribes."""
        return self._board.on_change(callback)

    def on_line(self, callback: OnLine) -> Callable[[], None]:
        """Be told the engine's own log lines, without secrets. The result unsubscribes."""
        return self._board.on_line(callback)

    def require(self, ability: Ability) -> Model:
        """The loaded model, which can do it. Raises WrongModel."""
        model = self._plan.model if self._plan is not None else None
        if self._board.status.state is ManagerState.READY and model and ability in model.abilities:
            return model
        raise wrong_model(self._board.status, model, ability, self._known())

    # What to do

    async def preview(self, choice: Choice) -> Launch:
        """What `start` would run now. Raises BadRequest."""
        return (await self._planned(choice)).launch

    async def start(self, choice: Choice, *, preferred: bool = True) -> ManagerStatus:
        """Load this model in place of any other; returns when that has begun, `settled` when it is done.

        What can not be is refused, and nothing changes: BadRequest; Draining once it is closed. A model that is being loaded is given up.
        `preferred`: it goes before every other engine while it is able to answer.
        """
        async with self._planning:
            plan = await self._planned(choice)
            if self._closing:
                raise Draining("The server is about to stop and starts nothing any more.")
            self._want(plan)
            self._engines.prefer(self.place if preferred else None)
        return self._board.status

    async def begin(self, choice: Choice) -> None:
        """`start` for the model that the settings name: what can not be is told by the status, and not raised."""
        name = choice.model.rpartition("/")[2]
        self.place.leave(EngineState.LOADING, f"{name} is about to be loaded.")
        try:
            await self.start(choice, preferred=False)
        except (BadRequest, Draining) as error:
            log.warning("the model of the settings can not be loaded")
            self.place.leave(EngineState.MISCONFIGURED, error.message)
            failed = replace(self._board.status, state=ManagerState.FAILED, model=name)
            self._board.show(replace(failed, mode=choice.mode, error=error.message))

    async def stop(self) -> ManagerStatus:
        """Unload; returns when its memory is given back."""
        self._engines.prefer(None)
        self._want(None)
        await self.settled()
        return self._board.status

    async def settled(self) -> ManagerStatus:
        """Wait until nothing is loading or stopping."""
        await self._settled.wait()
        return self._board.status

    async def close(self) -> None:
        """Stop what runs. Safe to call twice."""
        self._closing = True
        self._wanted = None
        self._changed.set()
        if self._worker is not None:
            await asyncio.wait([self._worker])
        await self._tasks.close()

    async def _planned(self, choice: Choice) -> Plan:
        held = self._board.status.memory_bytes or 0
        gpu = await in_pool(self._pool, self._gpu_free)
        given_back = 0
        if gpu is not None and self._gpu_empty is not None and self._loaded is not None:
            given_back = max(0, self._gpu_empty - gpu)
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            own = self._plan.launch.port if self._plan is not None else None
            choice = choice.model_copy(update={"port": usable_port(choice.port, own)})
        try:
            return await in_pool(self._pool, self._planner, choice, held, given_back)
        except self._refusals as error:
            raise BadRequest(getattr(error, "message", "This can not be started.")) from None

    def _want(self, plan: Plan | None) -> None:
        self._wanted = plan
        if self._worker is None:
            if plan is None:
                self._idle()
                return
            self._worker = self._tasks.spawn(self._work(), name="work")
        self._settled.clear()
        if plan is not None and self._loaded is None:
            self._board.show(loading_status(plan, self._board.status.released))
            self.place.leave(EngineState.LOADING, f"{plan.name} is being loaded.")
        self._changed.set()

    # The one task that starts and stops engines

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            plan = self._plan = self._wanted
            if plan is not None:
                await self._run(plan)
                continue
            self._idle()
            if self._closing:
                return
            await self._changed.wait()

    async def _run(self, plan: Plan) -> None:
        """Until something else is wanted; nothing of it is left then."""
        self._board.show(loading_status(plan, self._board.status.released))
        self.place.leave(EngineState.LOADING, f"{plan.name} is being loaded.")
        keeping = self._tasks.spawn(self._keep(plan), name="keep")
        changed = self._tasks.spawn(self._changed.wait(), name="changed")
        try:
            await asyncio.wait((keeping, changed), return_when=asyncio.FIRST_COMPLETED)
            if keeping.done() and keeping.exception() is not None:
                await self._unload()
                self._failed(plan, _OUR_FAULT)
            await changed
        finally:
            await cancel_and_wait((keeping, changed))
        try:
            await self._unload()
        except Exception as exc:  # noqa: BLE001
            # What could not be stopped must not keep others from being started.
            log.error("a model was not stopped", extra={"error": type(exc).__name__})
            self._loaded = None

    async def _keep(self, plan: Plan) -> None:
        """Load it and keep it up; returns when it has failed for good."""
        crashes, ports = 0, 1
        clock = asyncio.get_running_loop().time
        self._gpu_empty = await in_pool(self._pool, self._gpu_free)
        while True:
            loaded = self._loaded = self._loader(plan, self._board.line, self._board.progress)
            sampling = self._tasks.spawn(self._sample(loaded), name="sample")
            try:
                await loaded.start()
                crashes = await self._up(plan, loaded, crashes, clock)
                how = (
                    loaded.how_it_ended()
                    if loaded.ended.is_set()
                    else "did not answer any more and was ended."
                )
                why = f"{plan.name} {how}"
                self._crashed(plan, why, crashes)
            except StartFailed as error:
                why = f"{plan.name} could not be started. {error.message}"
                if error.port_taken and ports < _PORT_TRIES and plan.launch.port is not None:
                    ports += 1
                    await self._unload()
                    plan = self._plan = await self._elsewhere(plan)
                    continue
                if crashes == 0:
                    await self._unload()
                    self._failed(plan, why)
                    return
            finally:
                sampling.cancel()
            await self._unload()
            if crashes >= len(self._delays):
                self._failed(
                    plan,
                    f"{why} It was started again {crashes} times and is given up: start it again, or choose another model.",
                )
                return
            await self._pause(plan, why, crashes)
            crashes += 1

    async def _up(
        self, plan: Plan, loaded: Loaded, crashes: int, clock: Callable[[], float]
    ) -> int:
        """It answers: returns when it has ended or fallen silent, with the crashes that count from then on."""
        self.place.use(
            loaded.engine, plan.model_id, lambda found: refined(found, plan.choice, plan.model)
        )
        self._board.show(
            replace(self._board.status, state=ManagerState.READY, progress=None, error="")
        )
        self._engines.look()
        self._settled.set()
        log.info("a model is loaded", extra={"kind": str(plan.choice.mode)})
        began = clock()
        while not loaded.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_WATCH_SECONDS, self._silent_seconds)):
                    await loaded.ended.wait()
            if self.place.silent_seconds() > self._silent_seconds:
                break
        return crashes if clock() - began < _CALM_SECONDS else 0

    def _crashed(self, plan: Plan, why: str, crashes: int) -> None:
        self._settled.clear()
        again = " It is started again." if crashes < len(self._delays) else ""
        log.warning("a model ended unexpectedly", extra={"count": crashes + 1})
        self.place.leave(
            EngineState.LOADING if again else EngineState.UNREACHABLE,
            f"{plan.name} ended unexpectedly.{again}",
            f"{plan.name} ended unexpectedly in mid-answer.{again} Ask again in a moment.",
        )
        self._engines.lost(self.place)
        self._board.show(replace(loading_status(plan, None), error=f"{why}{again}"))

    async def _pause(self, plan: Plan, why: str, crashes: int) -> None:
        delay = self._delays[crashes]
        phase = f"starting again in {delay:g} s ({crashes + 1} of {len(self._delays)})"
        self._board.show(replace(loading_status(plan, None), progress=Progress(phase), error=why))
        await asyncio.sleep(delay)

    async def _elsewhere(self, plan: Plan) -> Plan:
        """The same on another port. Raises StartFailed."""
        choice = plan.choice.model_copy(update={"port": usable_port(None)})
        try:
            return await in_pool(self._pool, self._planner, choice, 0, 0)
        except self._refusals as error:
            raise StartFailed(getattr(error, "message", "")) from None

    async def _unload(self) -> None:
        """Stop what is there, wait for its memory, tell what came back. May be cancelled and called again."""
        loaded, plan = self._loaded, self._plan
        if loaded is None or plan is None:
            return
        before = self._board.status
        if before.state is ManagerState.READY:
            self._board.show(replace(before, state=ManagerState.STOPPING, progress=None))
        self.place.leave(
            EngineState.UNREACHABLE if self._wanted is None else EngineState.LOADING,
            (
                f"{plan.name} has been stopped."
                if self._wanted is None
                else f"{self._wanted.name} is being loaded."
            ),
            f"{plan.name} was stopped by an operator in mid-answer. Ask again.",
        )
        self._engines.lost(self.place)
        held = await in_pool(self._pool, loaded.memory_bytes)
        gpu_before = await in_pool(self._pool, self._gpu_free)
        await loaded.stop()
        left = await in_pool(self._pool, loaded.memory_bytes)
        gpu_after = await self._gpu_returned()
        self._loaded = None
        released = Released(held, left, gpu_before, gpu_after)
        self._board.show(replace(self._board.status, memory_bytes=None, released=released))
        if held:
            self._board.line(
                f"{plan.name} gave back {(held - (left or 0)) / 1e6:.0f} MB of main memory."
            )
        if gpu_before is not None and gpu_after is not None:
            self._board.line(
                f"{plan.name} gave back {(gpu_after - gpu_before) / 1e6:.0f} MB of GPU memory."
            )

    async def _gpu_returned(self) -> int | None:
        """Free GPU memory once it is back, or after a while."""
        due = asyncio.get_running_loop().time() + _RETURN_SECONDS
        while True:
            free = await in_pool(self._pool, self._gpu_free)
            empty = self._gpu_empty
            if free is None or empty is None or free >= empty * _RETURNED_SHARE:
                return free
            if self._closing or asyncio.get_running_loop().time() > due:
                log.warning("GPU memory was not given back in time")
                return free
            await asyncio.sleep(0.25)

    # Telling

    async def _sample(self, loaded: Loaded) -> None:
        while True:
            held = await in_pool(self._pool, loaded.memory_bytes)
            if held != self._board.status.memory_bytes and self._loaded is loaded:
                self._board.show(replace(self._board.status, memory_bytes=held))
            await asyncio.sleep(_WATCH_SECONDS)

    def _idle(self) -> None:
        self.place.leave(EngineState.UNREACHABLE, NOTHING_LOADED)
        self._board.show(ManagerStatus(released=self._board.status.released))
        self._settled.set()

    def _failed(self, plan: Plan, why: str) -> None:
        other = self._engines.current
        meanwhile = (
            f" Meanwhile the {other.name} engine answers."
            if other is not self.place and other.status.ready
            else ""
        )
        log.warning("a model could not be loaded", extra={"kind": str(plan.choice.mode)})
        self.place.leave(EngineState.UNREACHABLE, why)
        self._engines.prefer(None)
        self._board.show(
            replace(
                loading_status(plan, self._board.status.released),
                state=ManagerState.FAILED,
                progress=None,
                error=why + meanwhile,
            )
        )
        self._settled.set()

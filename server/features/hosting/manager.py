"""Load, monitor, restart and unload the model that an operator chose; one model at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from server.core.aio import TaskSet, run_in_pool
from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting.active_engine import (
    NO_MODEL_DETAIL,
    REMOTE_REMEDY,
    RESTART_REMEDY,
    ActiveEngine,
)
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import Ability, Model, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.planner import find_port
from server.features.hosting.runtime import (
    OnLine,
    OnProgress,
    Plan,
    Runtime,
    StartFailed,
    complete_capabilities,
)
from server.features.hosting.status import (
    ManagerState,
    ManagerStatus,
    StatusStore,
    make_loading_status,
    make_wrong_model_error,
)
from server.models.base import EngineState
from server.models.selector import EngineSelector

log = logging.getLogger(__name__)
# Seconds of failed probes after which a model is restarted
SILENT_SECONDS = 60.0
# Seconds before each restart of a crashed model; after the last one it has failed.
RESTART_DELAYS = (1.0, 5.0, 20.0)
# Seconds of running after which a crash is treated as the first one
_STABLE_SECONDS = 300.0
_WATCH_SECONDS = 2.0
# Maximum seconds until the GPU memory of an ended process is freed, and the fraction that must be freed
_GPU_FREE_SECONDS = 15.0
_GPU_FREE_SHARE = 0.95
# Ports tried for one model
_PORT_TRIES = 3
_INTERNAL_ERROR = "An internal error stopped the model; the server's log names it. Start the model again, or choose another."
_SHUTTING_DOWN = "The server is about to stop."

# Find the model and build the command. Blocking. Raises BadRequest.
MakePlan = Callable[[Choice], Plan]
RuntimeFactory = Callable[[Plan, OnLine, OnProgress], Runtime]
# Return the free bytes of each GPU; None without a readable GPU. Blocking.
GpuFree = Callable[[], Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class ManagerContext:
    """Dependencies and time limits of the manager."""

    active: ActiveEngine
    engines: EngineSelector
    # One pool for planning, which may take minutes, and one for reading the GPUs, which must not wait for planning
    planning: ThreadPoolExecutor
    measuring: ThreadPoolExecutor
    planner: MakePlan
    loader: RuntimeFactory
    gpu_free: GpuFree = lambda: None
    silent_seconds: float = SILENT_SECONDS
    gpu_free_seconds: float = _GPU_FREE_SECONDS
    store: StatusStore = field(default_factory=StatusStore)


class EngineManager:
    """Runs one model. Not thread-safe: call it on the event loop; blocking work runs in `planning` and `measuring`.

    A start or a stop cancels `_work`, the task of the previous model. The new task then unloads the previous model, and
    waits until its memory is free.

    Bounds of the models that an operator chose: only one is loaded. Choosing another unloads it first; if the new one
    fails, the previous one is loaded again.
    """

    def __init__(
        self,
        context: ManagerContext,
        *,
        restart_delays: tuple[float, ...] = RESTART_DELAYS,
    ) -> None:
        self.context, self._delays = context, restart_delays
        self.active, self._engines, self._store = context.active, context.engines, context.store
        self.on_change, self.on_line = context.store.on_change.append, context.store.on_line.append
        self._tasks = TaskSet("manager")
        # The current task, the plan of the model that runs or loads, and its runtime until that has been stopped
        self._work: asyncio.Task[None] | None = None
        self._run_lock = asyncio.Lock()
        self._plan: Plan | None = None
        self._runtime: Runtime | None = None
        # Plan of the ready model that a new one replaces, loaded again if the new one fails
        self._previous: Plan | None = None
        # Set while no model is loading or stopping
        self._settled = asyncio.Event()
        self._settled.set()
        self._closing = False
        self._plan_lock = asyncio.Lock()
        # Number of calls of `stop`, by which `start` detects a call during planning
        self._stop_count = 0
        # Free bytes of each GPU before the model was loaded
        self._gpu_free_before: Sequence[int] | None = None

    # State

    def get_status(self) -> ManagerStatus:
        return self._store.status

    @property
    def ready_runtime(self) -> Runtime | None:
        """The runtime of the model that is ready; None if no model is ready."""
        return self._runtime if self._store.status.state is ManagerState.READY else None

    def require(self, *abilities: Ability) -> Model:
        """Return the loaded model if it has one of these abilities. Raises WrongModel."""
        model = self._plan.model if self._plan is not None else None
        if self.ready_runtime is not None and model and not model.abilities.isdisjoint(abilities):
            return model
        raise make_wrong_model_error(self._store.status, model, abilities)

    # Commands

    async def preview(self, choice: Choice) -> Launch:
        """Return the command that `start` would run. Raises BadRequest."""
        return (await self._make_plan(choice)).launch

    async def start(self, choice: Choice, *, preferred: bool = True) -> ManagerStatus:
        """Begin to load a model in place of the current one; `wait_settled` returns when it has loaded or failed.

        `preferred`: use it before every other engine while it is ready. Raises BadRequest for an impossible choice, which
        changes nothing; Draining after `close`; Conflict if `stop` was called meanwhile.
        """
        stops = self._stop_count
        async with self._plan_lock:
            plan = await self._make_plan(choice)
            if self._closing:
                raise Draining(_SHUTTING_DOWN)
            if self._stop_count > stops:
                raise Conflict(
                    f"{plan.name} was stopped by an operator before it began to load. Start it again if you need it."
                )
            self._replace(plan)
            self._engines.prefer(self.active if preferred else None)
        return self._store.status

    async def start_from_settings(self, choice: Choice) -> None:
        """Start the model named in the settings. A failure is reported in the status, not raised."""
        name = choice.model.rpartition("/")[2]
        self.active.deactivate(EngineState.LOADING, f"{name} is about to be loaded.")
        try:
            await self.start(choice, preferred=False)
        except Conflict:
            log.info("LOCAL_MODEL stopped before loading")
        except (BadRequest, Draining) as error:
            log.warning("LOCAL_MODEL failed to load", extra={"reason": error.message})
            self.active.deactivate(EngineState.MISCONFIGURED, error.message)
            self._engines.reprobe()
            failed = replace(self._store.status, state=ManagerState.FAILED, model=name)
            self._store.show(replace(failed, mode=choice.mode, error=error.message))

    async def stop(self) -> ManagerStatus:
        """Unload the model, and cancel any start; return when its memory is free."""
        self._stop_count += 1
        self._engines.prefer(None)
        if not self._closing:
            self._replace(None)
        return await self.wait_settled()

    async def wait_settled(self) -> ManagerStatus:
        """Wait until no model is loading or stopping."""
        await self._settled.wait()
        return self._store.status

    async def close(self) -> None:
        """Stop the running model. Safe to call twice."""
        if not self._closing:
            self._closing = True
            self._replace(None)
        await self._settled.wait()
        await self._tasks.close()

    async def _make_plan(self, choice: Choice) -> Plan:
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            running = self._plan is not None and self._runtime is not None
            own = self._plan.launch.port if self._plan is not None and running else None
            choice = choice.model_copy(update={"port": find_port(choice.port, own)})
        return await run_in_pool(self.context.planning, self.context.planner, choice)

    # The task of a model

    def _replace(self, plan: Plan | None) -> None:
        """Take the current model out of service, and start the task that loads `plan`; None: no model."""
        self._settled.clear()
        if plan is None:
            self._previous = None
        elif self.ready_runtime is not None:
            self._previous = self._plan
        if self._work is not None:
            self._work.cancel()
        if self._plan is not None:
            self._take_out_of_service(self._plan, plan)
        elif plan is not None:
            self.active.deactivate(EngineState.LOADING, f"{plan.name} is being loaded.")
        if self._runtime is not None:
            stopping = replace(self._store.status, state=ManagerState.STOPPING, progress=None)
            self._store.show(stopping)
        elif plan is not None:
            self._show_loading(plan)
        self._work = self._tasks.spawn(self._run_plan(plan), name="work")

    def _take_out_of_service(self, plan: Plan, following: Plan | None) -> None:
        state, detail = EngineState.UNREACHABLE, f"{plan.name} has been stopped."
        cut = f"{plan.name} was stopped by an operator in mid-answer. Ask again."
        if self._closing:
            detail, cut = _SHUTTING_DOWN, f"{_SHUTTING_DOWN} Ask again in a moment."
        elif following is not None:
            state, detail = EngineState.LOADING, f"{following.name} is being loaded."
        self.active.deactivate(state, detail, cut)
        self._engines.mark_lost(self.active)

    def _show_loading(self, plan: Plan, error: str = "", phase: str = "starting") -> None:
        self._store.show(
            replace(make_loading_status(plan), error=error, progress=LoadProgress(phase))
        )

    async def _run_plan(self, plan: Plan | None) -> None:
        # The previous task was cancelled and may still be ending.
        async with self._run_lock:
            await self._unload()
            self._plan = plan
            if plan is None:
                self.active.deactivate(EngineState.UNREACHABLE, NO_MODEL_DETAIL)
                self._store.show(ManagerStatus())
                self._settled.set()
                return
            why = note = ""
            while plan is not None:
                self._plan = plan
                self._show_loading(plan, note)
                self.active.deactivate(EngineState.LOADING, f"{plan.name} is being loaded.")
                try:
                    why = await self._keep_running(note)
                except Exception as exc:  # noqa: BLE001
                    # A bug in this server; it must not prevent the next start.
                    log.error("model task failed", extra={"error": type(exc).__name__})
                    self.active.deactivate(
                        EngineState.UNREACHABLE, why := _INTERNAL_ERROR, _INTERNAL_ERROR
                    )
                await self._unload()
                why, plan, self._previous = f"{note} {why}".strip(), self._previous, None
                if plan is not None:
                    note = f"{why} {plan.name}, which worked before, is loaded again."
            self._show_failed(why)

    async def _keep_running(self, note: str) -> str:
        """Load the model, and restart it after crashes. Return why it finally failed. `note`: shown as its error."""
        if why := await self._load():
            return why
        crashes = 0
        while True:
            self._activate(note)
            note = ""
            name = self._plan.name if self._plan is not None else ""
            how, stable = await self._wait_end()
            why, crashes = f"{name} {how}", 0 if stable else crashes
            self._report_end(name, why, again=crashes < len(self._delays))
            while why:
                await self._unload()
                if crashes >= len(self._delays):
                    return f"{why} It was restarted {crashes} times without success. Start it again, or choose another model."
                pause, crashes = self._delays[crashes], crashes + 1
                assert self._plan is not None
                phase = f"restarting in {pause:g} s ({crashes} of {len(self._delays)})"
                self._show_loading(self._plan, why, phase)
                await asyncio.sleep(pause)
                why = await self._load(again=True)

    async def _load(self, *, again: bool = False) -> str:
        """Load the planned model, on another port if its own is taken. Return why that failed; "" when it is ready."""
        context, store = self.context, self._store
        for others in reversed(range(_PORT_TRIES)):
            plan = self._plan
            assert plan is not None
            if not again:
                self._gpu_free_before = await self._get_gpu_free()
            self._runtime = context.loader(plan, store.add_line, store.set_progress)
            try:
                await self._runtime.start()
                return ""
            except StartFailed as error:
                await self._unload()
                why = f"{plan.name} could not be started. {error.message}"
                if not (error.port_taken and others and plan.launch.port):
                    break
            try:
                choice = plan.choice.model_copy(update={"port": find_port(None)})
                self._plan = await run_in_pool(context.planning, context.planner, choice)
            except BadRequest:
                # Show the first reason, not this one.
                break
            again = True
            self._show_loading(self._plan, store.status.error)
        return why

    def _activate(self, note: str) -> None:
        """Put the loaded model into service."""
        plan, runtime = self._plan, self._runtime
        assert plan is not None
        assert runtime is not None
        remote = plan.choice.mode is RunMode.REMOTE
        self.active.activate(
            runtime.engine,
            plan.model_id,
            lambda found: complete_capabilities(found, plan.choice, plan.model),
            REMOTE_REMEDY if remote else RESTART_REMEDY,
        )
        ready = replace(
            make_loading_status(plan),
            state=ManagerState.READY,
            model=plan.get_display_id(runtime.engine.status.model),
            progress=None,
            error=note,
        )
        self._store.show(ready)
        self._engines.reprobe()
        self._previous = None
        self._settled.set()
        log.info("model loaded", extra={"kind": str(plan.choice.mode)})

    async def _wait_end(self) -> tuple[str, bool]:
        """Wait until the model ends or stops answering. Return how it ended, and whether it ran for _STABLE_SECONDS."""
        runtime, context, plan = self._runtime, self.context, self._plan
        assert runtime is not None
        assert plan is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        while not runtime.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_WATCH_SECONDS, context.silent_seconds)):
                    await runtime.ended.wait()
            if plan.choice.mode is RunMode.REMOTE:
                self._show_remote(plan, runtime)
            elif self.active.get_silent_seconds() > context.silent_seconds:
                break
        hung = "stopped answering and was ended."
        how = runtime.explain_end() if runtime.ended.is_set() else hung
        return how, clock() - began >= _STABLE_SECONDS

    def _report_end(self, name: str, why: str, *, again: bool) -> None:
        more = " It is being restarted." if again else ""
        self._settled.clear()
        self.active.deactivate(
            EngineState.LOADING if again else EngineState.UNREACHABLE,
            f"{name} ended unexpectedly.{more}",
            f"{name} ended unexpectedly in mid-answer.{more} Ask again in a moment.",
        )
        self._engines.mark_lost(self.active)
        log.warning("model ended unexpectedly", extra={"reason": why})
        if self._plan is not None:
            self._show_loading(self._plan, f"{why}{more}")

    def _show_remote(self, plan: Plan, runtime: Runtime) -> None:
        """Show whether a remote server answers. The server is used again as soon as it answers."""
        status, found = self._store.status, runtime.engine.status.model
        error = self.active.status.detail if self.active.get_silent_seconds() > 0 else ""
        self._store.show(replace(status, model=plan.get_display_id(found), error=error))

    def _show_failed(self, why: str) -> None:
        plan, self._plan = self._plan, None
        assert plan is not None
        log.warning("model failed to load", extra={"kind": str(plan.choice.mode), "reason": why})
        self.active.deactivate(EngineState.UNREACHABLE, why)
        self._engines.prefer(None)
        failed = replace(make_loading_status(plan), progress=None)
        self._store.show(replace(failed, state=ManagerState.FAILED, error=why))
        self._settled.set()

    async def _unload(self) -> None:
        """Stop the runtime, and wait until its memory is free. May be cancelled and called again."""
        if self._runtime is None:
            return
        try:
            await self._runtime.stop()
            await self._wait_gpu_memory_free()
        except Exception as exc:  # noqa: BLE001
            # A model that fails to stop must not prevent the next start.
            log.error("model failed to stop", extra={"error": type(exc).__name__})
        self._runtime = None

    async def _wait_gpu_memory_free(self) -> None:
        """Wait until the memory of each GPU is free again, at most `gpu_free_seconds`."""
        clock = asyncio.get_running_loop().time
        due = clock() + self.context.gpu_free_seconds
        while (free := await self._get_gpu_free()) and self._gpu_free_before and not self._closing:
            pairs = zip(free, self._gpu_free_before, strict=False)
            if all(now >= before * _GPU_FREE_SHARE for now, before in pairs):
                return
            if clock() > due:
                log.warning("GPU memory not freed in time")
                return
            await asyncio.sleep(0.25)

    async def _get_gpu_free(self) -> Sequence[int] | None:
        return await run_in_pool(self.context.measuring, self.context.gpu_free)

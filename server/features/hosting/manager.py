"""One model at a time: what an operator chose is loaded, watched, started again after a crash, and unloaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace

from server.core.aio import TaskSet, in_pool
from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting.active_engine import (
    ELSEWHERE,
    NOTHING_LOADED,
    STARTED_AGAIN,
    ActiveEngine,
)
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.engine_log import LoadProgress
from server.features.hosting.catalogue.entry import Ability, Model, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.planner import usable_port
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime, StartFailed, refined
from server.features.hosting.status import (
    ManagerState,
    ManagerStatus,
    StatusStore,
    loading_status,
    wrong_model,
)
from server.models.base import EngineState
from server.models.selector import EngineSelector

log = logging.getLogger(__name__)
# A model is restarted when it has not answered for this long.
SILENT_SECONDS = 60.0
# Seconds before a model that crashed is started again; after the last it has failed.
RESTART_DELAYS = (1.0, 5.0, 20.0)
# After so long a crash counts as the first again.
_CALM_SECONDS = 300.0
_WATCH_SECONDS = 2.0
# Time for a GPU's memory to be freed after the end of its process.
_RETURN_SECONDS = 15.0
_RETURNED_SHARE = 0.95
# Ports that are tried for one model
_PORTS = 3
_OUR_FAULT = "Something went wrong inside this program; its log says where. Start the model again, or choose another."
_CLOSING = "The server is about to stop."

# Finds the model and builds the command; blocking. Raises BadRequest.
MakePlan = Callable[[Choice], Plan]
Loader = Callable[[Plan, OnLine, OnProgress], Runtime]
# Returns the free bytes of each GPU; None where there is no GPU, or it cannot be read. Blocking.
GpuFree = Callable[[], Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class Tools:
    """The manager's own tools."""

    active: ActiveEngine
    engines: EngineSelector
    # Threads for planning, which may take minutes, and for reading the GPUs, which must not wait for that
    planning: ThreadPoolExecutor
    measuring: ThreadPoolExecutor
    planner: MakePlan
    loader: Loader
    gpu_free: GpuFree = lambda: None
    silent_seconds: float = SILENT_SECONDS
    return_seconds: float = _RETURN_SECONDS
    store: StatusStore = field(default_factory=StatusStore)


class EngineManager:
    """Everything on the event loop; what blocks runs in `planning` and `measuring`.

    A start or a stop cancels the one task of the model before it, `_work`; its own task then unloads that model and waits
    for its memory.

    Bounds of the model that an operator chose: one; another one replaces it when its memory is free, and gives the place back
    when it cannot be loaded.
    """

    def __init__(
        self,
        tools: Tools,
        *,
        restart_delays: tuple[float, ...] = RESTART_DELAYS,
    ) -> None:
        self.tools, self._delays = tools, restart_delays
        self.active, self._engines, self._store = tools.active, tools.engines, tools.store
        self.on_change, self.on_line = tools.store.on_change.append, tools.store.on_line.append
        self._tasks = TaskSet("manager")
        # What is carried out, and the model that runs or is being loaded, with what is left of it
        self._work: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._plan: Plan | None = None
        self._loaded: Runtime | None = None
        # The one that it is to replace, to go back to
        self._good: Plan | None = None
        # Nothing is under way.
        self._settled = asyncio.Event()
        self._settled.set()
        self._closing = False
        self._planning = asyncio.Lock()
        # Times that an operator has stopped what was there
        self._stops = 0
        # Free memory of the GPUs before the model was loaded
        self._gpu_empty: Sequence[int] | None = None

    # Reading

    def status(self) -> ManagerStatus:
        return self._store.status

    @property
    def loaded(self) -> Runtime | None:
        """The model that is ready; None while none is."""
        return self._loaded if self._store.status.state is ManagerState.READY else None

    def require(self, *abilities: Ability) -> Model:
        """Return the loaded model, which can do one of these. Raises WrongModel."""
        model = self._plan.model if self._plan is not None else None
        if self.loaded is not None and model and not model.abilities.isdisjoint(abilities):
            return model
        raise wrong_model(self._store.status, model, abilities)

    # Asking

    async def preview(self, choice: Choice) -> Launch:
        """Return what `start` would run now. Raises BadRequest."""
        return (await self._planned(choice)).launch

    async def start(self, choice: Choice, *, preferred: bool = True) -> ManagerStatus:
        """Load this model in place of any other; return when that has begun, `settled` when it is
        done.

        An impossible choice is refused, and nothing changes: BadRequest; Draining once it is closed;
        Conflict when somebody stopped it before it had begun. A model that is being loaded is given
        up. `preferred`: it goes before every other engine while it is able to answer.
        """
        stops = self._stops
        async with self._planning:
            plan = await self._planned(choice)
            if self._closing:
                raise Draining(_CLOSING)
            if self._stops > stops:
                raise Conflict(
                    f"{plan.name} was stopped by an operator before it began to load. Start it again if it is wanted."
                )
            self._replace(plan)
            self._engines.prefer(self.active if preferred else None)
        return self._store.status

    async def begin(self, choice: Choice) -> None:
        """Start the model that the settings name; the status shows why not. Raises nothing."""
        name = choice.model.rpartition("/")[2]
        self.active.leave(EngineState.LOADING, f"{name} is about to be loaded.")
        try:
            await self.start(choice, preferred=False)
        except Conflict:
            log.info("the model of the settings was stopped before it began to load")
        except (BadRequest, Draining) as error:
            log.warning("LOCAL_MODEL cannot be loaded", extra={"reason": error.message})
            self.active.leave(EngineState.MISCONFIGURED, error.message)
            self._engines.probe_soon()
            failed = replace(self._store.status, state=ManagerState.FAILED, model=name)
            self._store.show(replace(failed, mode=choice.mode, error=error.message))

    async def stop(self) -> ManagerStatus:
        """Unload; return when its memory is given back. A model that is about to start does not."""
        self._stops += 1
        self._engines.prefer(None)
        if not self._closing:
            self._replace(None)
        return await self.settled()

    async def settled(self) -> ManagerStatus:
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

    async def _planned(self, choice: Choice) -> Plan:
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            running = self._plan is not None and self._loaded is not None
            own = self._plan.launch.port if self._plan is not None and running else None
            choice = choice.model_copy(update={"port": usable_port(choice.port, own)})
        return await in_pool(self.tools.planning, self.tools.planner, choice)

    # Carrying out

    def _replace(self, plan: Plan | None) -> None:
        """Take what answers or is being loaded out of service, and begin with `plan`, or with nothing."""
        self._settled.clear()
        if plan is None:
            self._good = None
        elif self.loaded is not None:
            self._good = self._plan
        if self._work is not None:
            self._work.cancel()
        if self._plan is not None:
            self._leave(self._plan, plan)
        elif plan is not None:
            self.active.leave(EngineState.LOADING, f"{plan.name} is being loaded.")
        if self._loaded is not None:
            stopping = replace(self._store.status, state=ManagerState.STOPPING, progress=None)
            self._store.show(stopping)
        elif plan is not None:
            self._show_loading(plan)
        self._work = self._tasks.spawn(self._carry_out(plan), name="work")

    def _leave(self, plan: Plan, wanted: Plan | None) -> None:
        state, detail = EngineState.UNREACHABLE, f"{plan.name} has been stopped."
        cut = f"{plan.name} was stopped by an operator in mid-answer. Ask again."
        if self._closing:
            detail, cut = _CLOSING, f"{_CLOSING} Ask again in a moment."
        elif wanted is not None:
            state, detail = EngineState.LOADING, f"{wanted.name} is being loaded."
        self.active.leave(state, detail, cut)
        self._engines.mark_lost(self.active)

    def _show_loading(self, plan: Plan, error: str = "", phase: str = "starting") -> None:
        self._store.show(replace(loading_status(plan), error=error, progress=LoadProgress(phase)))

    async def _carry_out(self, plan: Plan | None) -> None:
        # The task before it was cancelled, and may need a moment for its end.
        async with self._one_at_a_time:
            await self._unload()
            self._plan = plan
            if plan is None:
                self.active.leave(EngineState.UNREACHABLE, NOTHING_LOADED)
                self._store.show(ManagerStatus())
                self._settled.set()
                return
            why = note = ""
            while plan is not None:
                self._plan = plan
                self._show_loading(plan, note)
                self.active.leave(EngineState.LOADING, f"{plan.name} is being loaded.")
                try:
                    why = await self._keep(note)
                except Exception as exc:  # noqa: BLE001
                    # A mistake of ours: the next model can be loaded all the same.
                    log.error("a model's run broke off", extra={"error": type(exc).__name__})
                    self.active.leave(EngineState.UNREACHABLE, why := _OUR_FAULT, _OUR_FAULT)
                await self._unload()
                why, plan, self._good = f"{note} {why}".strip(), self._good, None
                if plan is not None:
                    note = f"{why} {plan.name}, which worked before, is loaded again."
            self._show_failed(why)

    async def _keep(self, note: str) -> str:
        """Load the model, and again when it ends by itself; return why it does not run any more. `note`: shown with it."""
        if why := await self._load():
            return why
        crashes = 0
        while True:
            self._use(note)
            note = ""
            name = self._plan.name if self._plan is not None else ""
            how, calm = await self._watch()
            why, crashes = f"{name} {how}", 0 if calm else crashes
            self._ended(name, why, again=crashes < len(self._delays))
            while why:
                await self._unload()
                if crashes >= len(self._delays):
                    return (
                        f"{why} It was started again {crashes} times without success: start it yourself, or choose another"
                        " model."
                    )
                pause, crashes = self._delays[crashes], crashes + 1
                assert self._plan is not None
                phase = f"starting again in {pause:g} s ({crashes} of {len(self._delays)})"
                self._show_loading(self._plan, why, phase)
                await asyncio.sleep(pause)
                why = await self._load(again=True)

    async def _load(self, *, again: bool = False) -> str:
        """Load what is planned, on another port where its own is taken; return why that fails, "" when it answers."""
        tools, store = self.tools, self._store
        for others in reversed(range(_PORTS)):
            plan = self._plan
            assert plan is not None
            if not again:
                self._gpu_empty = await self._gpu_free()
            self._loaded = tools.loader(plan, store.line, store.progress)
            try:
                await self._loaded.start()
                return ""
            except StartFailed as error:
                await self._unload()
                why = f"{plan.name} could not be started. {error.message}"
                if not (error.port_taken and others and plan.launch.port):
                    break
            try:
                choice = plan.choice.model_copy(update={"port": usable_port(None)})
                self._plan = await in_pool(tools.planning, tools.planner, choice)
            except BadRequest:
                # The first reason is the one to show.
                break
            again = True
            self._show_loading(self._plan, store.status.error)
        return why

    def _use(self, note: str) -> None:
        """Let the model answer."""
        plan, loaded = self._plan, self._loaded
        assert plan is not None
        assert loaded is not None
        remote = plan.choice.mode is RunMode.REMOTE
        self.active.use(
            loaded.engine,
            plan.model_id,
            lambda found: refined(found, plan.choice, plan.model),
            ELSEWHERE if remote else STARTED_AGAIN,
        )
        ready = replace(
            loading_status(plan),
            state=ManagerState.READY,
            model=plan.shown_id(loaded.engine.status.model),
            progress=None,
            error=note,
        )
        self._store.show(ready)
        self._engines.probe_soon()
        self._good = None
        self._settled.set()
        log.info("a model is loaded", extra={"kind": str(plan.choice.mode)})

    async def _watch(self) -> tuple[str, bool]:
        """Return when the model has ended or hangs: how, and whether it had run for long."""
        loaded, tools, plan = self._loaded, self.tools, self._plan
        assert loaded is not None
        assert plan is not None
        clock = asyncio.get_running_loop().time
        began = clock()
        while not loaded.ended.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(min(_WATCH_SECONDS, tools.silent_seconds)):
                    await loaded.ended.wait()
            if plan.choice.mode is RunMode.REMOTE:
                self._show_remote(plan, loaded)
            elif self.active.silent_seconds() > tools.silent_seconds:
                break
        hung = "did not answer any more and was ended."
        how = loaded.how_it_ended() if loaded.ended.is_set() else hung
        return how, clock() - began >= _CALM_SECONDS

    def _ended(self, name: str, why: str, *, again: bool) -> None:
        more = " It is started again." if again else ""
        self._settled.clear()
        self.active.leave(
            EngineState.LOADING if again else EngineState.UNREACHABLE,
            f"{name} ended unexpectedly.{more}",
            f"{name} ended unexpectedly in mid-answer.{more} Ask again in a moment.",
        )
        self._engines.mark_lost(self.active)
        log.warning("a model ended unexpectedly", extra={"reason": why})
        if self._plan is not None:
            self._show_loading(self._plan, f"{why}{more}")

    def _show_remote(self, plan: Plan, loaded: Runtime) -> None:
        """Show when a server elsewhere does not answer; it is used again when it does."""
        status, found = self._store.status, loaded.engine.status.model
        error = self.active.status.detail if self.active.silent_seconds() > 0 else ""
        self._store.show(replace(status, model=plan.shown_id(found), error=error))

    def _show_failed(self, why: str) -> None:
        plan, self._plan = self._plan, None
        assert plan is not None
        log.warning(
            "a model could not be loaded", extra={"kind": str(plan.choice.mode), "reason": why}
        )
        self.active.leave(EngineState.UNREACHABLE, why)
        self._engines.prefer(None)
        failed = replace(loading_status(plan), progress=None)
        self._store.show(replace(failed, state=ManagerState.FAILED, error=why))
        self._settled.set()

    async def _unload(self) -> None:
        """Stop what is there, and wait for its memory. May be cancelled and called again."""
        if self._loaded is None:
            return
        try:
            await self._loaded.stop()
            await self._gpu_returned()
        except Exception as exc:  # noqa: BLE001
            # A model that could not be stopped must not keep others from being started.
            log.error("a model was not stopped", extra={"error": type(exc).__name__})
        self._loaded = None

    async def _gpu_returned(self) -> None:
        """Return once the memory of each GPU is free again, or after a while."""
        clock = asyncio.get_running_loop().time
        due = clock() + self.tools.return_seconds
        while (free := await self._gpu_free()) and self._gpu_empty and not self._closing:
            pairs = zip(free, self._gpu_empty, strict=False)
            if all(now >= before * _RETURNED_SHARE for now, before in pairs):
                return
            if clock() > due:
                log.warning("GPU memory was not given back in time")
                return
            await asyncio.sleep(0.25)

    async def _gpu_free(self) -> Sequence[int] | None:
        return await in_pool(self.tools.measuring, self.tools.gpu_free)

"""One model at a time: the runner of `lifecycle`, which carries out what an operator chose.

A `ModelRun` is one run of one model: loaded, watched, unloaded with its memory given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from server.core.aio import TaskSet, cancel_and_wait, in_pool, supervise
from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting import lifecycle
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
from server.features.hosting.lifecycle import Ended, Order, Phase, Run, State
from server.features.hosting.messages import ReleasedMemory
from server.features.hosting.planner import usable_port
from server.features.hosting.runtime import OnLine, OnProgress, Plan, Runtime, StartFailed, refined
from server.features.hosting.server_runtime import ServerRuntime
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
# After so long a crash counts as the first again.
_CALM_SECONDS = 300.0
_WATCH_SECONDS = 2.0
# The GPUs' memory is read in every one of so many turns.
_GPU_TURNS = 5
# Time for a GPU's memory to be freed after the end of its process.
_RETURN_SECONDS = 15.0
_RETURNED_SHARE = 0.95


# Finds the model and builds the command; blocking. Raises BadRequest. Arguments: the choice, and the
# bytes of main memory and of each GPU that unloading the current model will free.
MakePlan = Callable[[Choice, int, Sequence[int]], Plan]
Loader = Callable[[Plan, OnLine, OnProgress], Runtime]
# Returns the free bytes of each GPU; None where there is no GPU, or it cannot be read. Blocking.
GpuFree = Callable[[], Sequence[int] | None]


@dataclass(frozen=True, slots=True)
class Tools:
    """The manager's own tools, which every run uses."""

    active: ActiveEngine
    engines: EngineSelector
    # Threads for planning, which may take minutes, and for reading memory, which must not wait for
    # that
    planning: ThreadPoolExecutor
    measuring: ThreadPoolExecutor
    planner: MakePlan
    loader: Loader
    # Bytes of free memory of each GPU, None where there is none
    gpu_free: GpuFree = lambda: None
    silent_seconds: float = SILENT_SECONDS
    return_seconds: float = _RETURN_SECONDS
    store: StatusStore = field(default_factory=StatusStore)
    tasks: TaskSet = field(default_factory=lambda: TaskSet("manager"))


class ModelRun:
    """Each method may be cancelled at any time; `unload` is due in any case."""

    def __init__(self, run: Run, tools: Tools) -> None:
        self.plan = run.order.plan
        # None before loading
        self.loaded: Runtime | None = None
        # The GPU's memory is not waited for any more.
        self.hurried = False
        self._tools = tools
        # Free memory of the GPUs before it was loaded
        self._gpu_empty: Sequence[int] | None = None
        # Its main memory and the GPUs' free memory at the beginning of stopping
        self._held: tuple[int | None, Sequence[int] | None] | None = None

    async def load(self, plan: Plan, *, again: bool) -> None:
        """Return when it answers. Raises StartFailed."""
        tools = self._tools
        self.plan = plan
        if not again:
            self._gpu_empty = await self._gpu_free()
        self.loaded = tools.loader(plan, tools.store.line, tools.store.progress)
        async with self._sampled(self.loaded):
            await self.loaded.start()

    async def watch(self, on_turn: Callable[[], None] | None = None) -> Ended:
        """Return when it has ended or hangs; with `on_turn`, called each time, it is elsewhere."""
        loaded, tools = self.loaded, self._tools
        if loaded is None:
            raise RuntimeError("nothing is loaded")
        clock = asyncio.get_running_loop().time
        began = clock()
        hung = "did not answer any more and was ended."
        async with self._sampled(loaded):
            while not loaded.ended.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(_WATCH_SECONDS, tools.silent_seconds)):
                        await loaded.ended.wait()
                if on_turn is not None:
                    on_turn()
                elif tools.active.silent_seconds() > tools.silent_seconds:
                    break
                elif (
                    isinstance(loaded, ServerRuntime)
                    and await loaded.stuck_seconds(tools.active.answering) > tools.silent_seconds
                ):
                    hung = "went on with an answer that nobody waited for, and was ended to free it for others."
                    break
        how = loaded.how_it_ended() if loaded.ended.is_set() else hung
        return Ended(how, calm=clock() - began >= _CALM_SECONDS)

    def gives_back(self, gpu_free: Sequence[int] | None) -> tuple[int, ...]:
        """Return for each GPU the bytes that are free without it, beyond those that are free now."""
        empty = self._gpu_empty
        if gpu_free is None or empty is None or len(empty) != len(gpu_free):
            return ()
        return tuple(max(0, before - now) for before, now in zip(empty, gpu_free, strict=True))

    async def unload(self, *, silently: bool = False) -> None:
        """Stop what is there, wait for its memory, show how much came back.

        May be cancelled and called again. `silently`: the status shows another model.
        """
        loaded, store = self.loaded, self._tools.store
        if loaded is None:
            return
        if self._held is None:
            self._held = await self._main_memory(loaded), await self._gpu_free()
        held, gpu_before = self._held
        await loaded.stop()
        left = await self._main_memory(loaded)
        gpu_after = await self._gpu_returned()
        self.loaded = self._held = None
        freed = None if held is None else max(0, held - (left or 0))
        gpu = None
        if gpu_before is not None and gpu_after is not None:
            gpu = max(0, sum(gpu_after) - sum(gpu_before))
        known = freed is not None or gpu is not None
        released = ReleasedMemory(memory_bytes=freed, left_bytes=left, gpu_bytes=gpu)
        status = replace(store.status, released=released if known else None)
        store.show(status if silently else replace(status, memory_bytes=None, gpu_bytes=None))
        if held:
            store.line(f"{self.plan.name} freed {(freed or 0) / 1e6:.0f} MB of main memory.")
        if gpu is not None:
            store.line(f"{self.plan.name} freed {gpu / 1e6:.0f} MB of GPU memory.")

    # Its memory

    async def _gpu_returned(self) -> Sequence[int] | None:
        """Return the free memory of each GPU once it is back, or after a while."""
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

    @asynccontextmanager
    async def _sampled(self, loaded: Runtime) -> AsyncIterator[None]:
        """Show its memory in the status meanwhile."""
        sampling = self._tools.tasks.spawn(self._sample(loaded), name="sample")
        try:
            yield
        finally:
            sampling.cancel()

    async def _sample(self, loaded: Runtime) -> None:
        store, was, turn = self._tools.store, None, 0

        async def step() -> float:
            nonlocal was, turn
            held = await self._main_memory(loaded)
            state, gpu = store.status.state, store.status.gpu_bytes
            # Some GPUs are read by a program, which takes a second.
            if turn % _GPU_TURNS == 0 or state is not was:
                taken = self.gives_back(await self._gpu_free())
                gpu, was = sum(taken) if taken else None, state
            turn += 1
            if self.loaded is loaded:
                store.show(replace(store.status, memory_bytes=held, gpu_bytes=gpu))
            return _WATCH_SECONDS

        await supervise(step, name="model_memory", after_failure=_WATCH_SECONDS)

    async def _main_memory(self, loaded: Runtime) -> int | None:
        return await in_pool(self._tools.measuring, loaded.memory_bytes)

    async def _gpu_free(self) -> Sequence[int] | None:
        return await in_pool(self._tools.measuring, self._tools.gpu_free)


# Time for the answers of a replaced model, when it did not have to be stopped first.
_FINISH_SECONDS = 120.0


# Seconds before a model that crashed is started again; after the last it has failed.
RESTART_DELAYS = (1.0, 5.0, 20.0)
# Ports that are tried for one model
_PORTS = 3
# Pause after a mistake of ours in carrying out a job
_RETRY_SECONDS = 1.0


class EngineManager:
    """Everything on the event loop; what blocks runs in `planning` and `measuring`.

    It decides nothing; see `lifecycle`. `close` ends all. `known`: models, for examples.

    Bounds of the model that an operator chose: one; another one replaces it when its memory is
    free, or, if one of the two runs on another machine, as soon as the new one answers. The old
    model finishes its answers within 120 s, and stays when the new one cannot be loaded.
    """

    def __init__(
        self,
        tools: Tools,
        *,
        known: Callable[[], Iterable[Model]] = tuple,
        restart_delays: tuple[float, ...] = RESTART_DELAYS,
    ) -> None:
        self.active, self._engines = tools.active, tools.engines
        self._known = known
        self._store, self._tasks = tools.store, tools.tasks
        self.on_change, self.on_line = tools.store.on_change, tools.store.on_line
        self.tools = tools
        # The models that were begun, by the number of their run
        self._runs: dict[int, ModelRun] = {}
        # Models that were replaced finish their answers here.
        self._retiring: set[asyncio.Task[None]] = set()
        self._planning = asyncio.Lock()
        # Number of the last start or stop request, and of the last stop
        self._orders = self._last_stop = 0
        self._state = State(restart_delays)
        # The job under way; None while the state needs none. Set when it is replaced.
        self._job: lifecycle.Job | None = None
        self._changed = asyncio.Event()
        # Nothing is under way.
        self._settled = asyncio.Event()
        self._settled.set()
        self._worker: asyncio.Task[None] | None = None

    # Reading

    def status(self) -> ManagerStatus:
        return self._store.status

    @property
    def loaded(self) -> Runtime | None:
        """The model that is ready; None while none is."""
        ready = self._store.status.state is ManagerState.READY
        return self._run.loaded if self._run is not None and ready else None

    def require(self, *abilities: Ability) -> Model:
        """Return the loaded model, which can do one of these. Raises WrongModel."""
        model = self._run.plan.model if self._run is not None else None
        ready = self._store.status.state is ManagerState.READY
        if ready and model and not model.abilities.isdisjoint(abilities):
            return model
        raise wrong_model(self._store.status, model, abilities, self._known())

    def _begun(self, run: Run | None) -> ModelRun | None:
        return self._runs.get(run.id) if run is not None else None

    @property
    def _run(self) -> ModelRun | None:
        return self._begun(self._state.run)

    @property
    def _answering(self) -> ModelRun | None:
        """The one that answers until the other one does, else the only one."""
        return self._begun(self._state.beside) or self._run

    # Asking

    async def preview(self, choice: Choice) -> Launch:
        """Return what `start` would run now. Raises BadRequest."""
        return (await self._planned(choice)).launch

    async def gives_back(self) -> tuple[int, tuple[int, ...]]:
        """Return the bytes of main memory and of each GPU that unloading would free."""
        tools, run = self.tools, self._answering
        gpus: tuple[int, ...] = ()
        if run is not None and run.loaded is not None:
            gpus = run.gives_back(await in_pool(tools.measuring, tools.gpu_free))
        return self._store.status.memory_bytes or 0, gpus

    async def start(self, choice: Choice, *, preferred: bool = True) -> ManagerStatus:
        """Load this model in place of any other; return when that has begun, `settled` when it is
        done.

        An impossible choice is refused, and nothing changes: BadRequest; Draining once it is closed;
        Conflict when somebody stopped it before it had begun. A model that is being loaded is given
        up. `preferred`: it goes before every other engine while it is able to answer. See
        `lifecycle` for a switch and one that fails.
        """
        self._orders += 1
        order = self._orders
        async with self._planning:
            plan = await self._planned(choice)
            if self._state.closing:
                raise Draining("The server is about to stop and starts nothing any more.")
            if self._last_stop > order:
                raise Conflict(
                    f"{plan.name} was stopped by an operator before it began to load. Start it again if it is wanted."
                )
            self._send(lifecycle.Start(Order(plan, preferred)))
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
        self._orders += 1
        self._last_stop = self._orders
        self._engines.prefer(None)
        if not self._state.closing:
            self._send(lifecycle.Event.STOP)
        return await self.settled()

    async def settled(self) -> ManagerStatus:
        """Wait until no model is loading or stopping."""
        await self._settled.wait()
        return self._store.status

    async def close(self) -> None:
        """Stop the running model. Safe to call twice."""
        for run in self._runs.values():
            run.hurried = True
        if not self._state.closing:
            self._send(lifecycle.Event.CLOSE)
        await self._settled.wait()
        await self._retire_now("The server is about to stop. Ask again in a moment.")
        await self._tasks.close()

    async def _planned(self, choice: Choice) -> Plan:
        tools, run = self.tools, self._answering
        held, gpu_back = await self.gives_back()
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            loaded = run is not None and run.loaded is not None
            own = run.plan.launch.port if run is not None and loaded else None
            choice = choice.model_copy(update={"port": usable_port(choice.port, own)})
        return await in_pool(tools.planning, tools.planner, choice, held, gpu_back)

    # The machine's events and actions

    def _send(self, event: lifecycle.AnyEvent) -> None:
        self._state, due = lifecycle.step(self._state, event)
        # The job first: it is due even if another action fails.
        for action in due:
            if isinstance(action, lifecycle.Job):
                self._replace_job(action)
        if self._state.phase in lifecycle.SETTLED:
            self._settled.set()
        else:
            self._settled.clear()
        if self._state.phase in (Phase.IDLE, Phase.FAILED, Phase.CLOSED):
            self._replace_job(None)
        if self._job is not None and self._worker is None:
            working = supervise(self._work, name="models", after_failure=_RETRY_SECONDS)
            self._worker = self._tasks.spawn(working, name="work")
        for action in due:
            self._act(action)

    def _replace_job(self, job: lifecycle.Job | None) -> None:
        self._job = job
        self._changed.set()

    def _act(self, action: lifecycle.Action) -> None:
        active, store = self.active, self._store
        match action:
            case lifecycle.Begin(order, beside):
                status = loading_status(order.plan, store.status.released)
                store.show(replace(status, error=order.note))
                if not beside:
                    active.leave(EngineState.LOADING, f"{order.plan.name} is being loaded.")
            case lifecycle.Use(run):
                self._use(run)
            case lifecycle.Retire(run):
                self._retire(run)
            case lifecycle.Part(state, detail, cut):
                active.leave(state, detail, cut)
                self._engines.lost(active)
            case lifecycle.ShowCrash(run, error):
                log.warning(
                    "a model ended unexpectedly", extra={"count": run.crashes + 1, "reason": error}
                )
                store.show(replace(loading_status(run.order.plan, None), error=error))
            case lifecycle.Prefer(yes):
                self._engines.prefer(active if yes else None)
            case lifecycle.ShowFailed(run, why):
                self._show_failed(run, why)
            case lifecycle.ShowIdle():
                active.leave(EngineState.UNREACHABLE, NOTHING_LOADED)
                store.show(ManagerStatus(released=store.status.released))

    def _use(self, run: Run) -> None:
        plan, model = run.order.plan, self._begun(run)
        loaded = model.loaded if model is not None else None
        if loaded is None:
            raise RuntimeError("nothing is loaded")
        self.active.use(
            loaded.engine,
            plan.model_id,
            lambda found: refined(found, plan.choice, plan.model),
            ELSEWHERE if run.remote else STARTED_AGAIN,
        )
        now = self._store.status
        ready = replace(
            loading_status(plan, now.released),
            state=ManagerState.READY,
            model=plan.shown_id(loaded.engine.status.model),
            progress=None,
            memory_bytes=now.memory_bytes,
            gpu_bytes=now.gpu_bytes,
            error=run.order.note,
        )
        self._store.show(ready)
        self._engines.probe_soon()
        log.info("a model is loaded", extra={"kind": str(plan.choice.mode)})

    def _show_failed(self, run: Run, why: str) -> None:
        other = self._engines.current
        meanwhile = (
            f" Meanwhile the {other.name} engine answers."
            if other is not self.active and other.status.ready
            else ""
        )
        plan = run.order.plan
        log.warning(
            "a model could not be loaded", extra={"kind": str(plan.choice.mode), "reason": why}
        )
        self.active.leave(EngineState.UNREACHABLE, why)
        self._engines.prefer(None)
        failed = replace(loading_status(plan, self._store.status.released), progress=None)
        self._store.show(replace(failed, state=ManagerState.FAILED, error=why + meanwhile))

    # The one task that carries out jobs

    async def _work(self) -> float:
        """Carry out one job, or wait until there is one."""
        self._changed.clear()
        job = self._job
        if job is None:
            await self._changed.wait()
            return 0.0
        working = self._tasks.spawn(self._carry_out(job), name=type(job).__name__.lower())
        changed = self._tasks.spawn(self._changed.wait(), name="changed")
        try:
            await asyncio.wait((working, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait((working, changed))
        # Otherwise an operator was faster, and its end no longer counts.
        if self._job is job and not working.cancelled():
            self._end(working)
        in_use = {run.id for run in (self._state.run, self._state.beside) if run is not None}
        self._runs = {
            number: run
            for number, run in self._runs.items()
            if number in in_use or run.loaded is not None
        }
        return 0.0

    def _end(self, job: asyncio.Task[lifecycle.AnyEvent]) -> None:
        """Go on with a job's event, or with Broke: no job that ended is carried out again."""
        if job.exception() is not None:
            self._send(lifecycle.Event.BROKE)
            return
        try:
            self._send(job.result())
        except Exception:
            if self._state.phase in lifecycle.BREAKABLE:
                self._send(lifecycle.Event.BROKE)
            raise

    # Jobs: each is done, and returns how that went

    async def _carry_out(self, job: lifecycle.Job) -> lifecycle.AnyEvent:
        match job:
            case lifecycle.Load(run, again):
                return await self._load(run, again)
            case lifecycle.Watch(run):
                on_turn = (lambda: self._show_remote(run)) if run.remote else None
                return await self._runs[run.id].watch(on_turn)
            case lifecycle.Restart(run, why, seconds, phase):
                await self._runs[run.id].unload()
                status = loading_status(run.order.plan, None)
                self._store.show(replace(status, progress=LoadProgress(phase), error=why))
                await asyncio.sleep(seconds)
                return lifecycle.Event.WAITED
            case lifecycle.Empty():
                return await self._empty(job)

    async def _load(self, run: Run, again: bool) -> lifecycle.AnyEvent:
        # Another model goes on if this one fails.
        plan, replacing = run.order.plan, self._state.good is not None
        if not again and not run.remote:
            # It may need the memory that they hold.
            await self._retire_now(f"{plan.name} takes its place. Ask again.")
        model = self._runs.setdefault(run.id, ModelRun(run, self.tools))
        for others in reversed(range(_PORTS)):
            try:
                await model.load(plan, again=again)
                return lifecycle.Loaded(plan)
            except StartFailed as error:
                await model.unload()
                why = f"{plan.name} could not be started. {error.message}"
                if replacing:
                    log.warning("a model could not be loaded", extra={"reason": why})
                if not (error.port_taken and others and plan.launch.port):
                    break
            try:
                choice = plan.choice.model_copy(update={"port": usable_port(None)})
                tools = self.tools
                plan, again = await in_pool(tools.planning, tools.planner, choice, 0, ()), True
            except BadRequest:
                # The first reason is the one to show.
                break
            status = loading_status(plan, self._store.status.released)
            self._store.show(replace(status, error=run.order.note))
        return lifecycle.NotLoaded(why)

    async def _empty(self, job: lifecycle.Empty) -> lifecycle.AnyEvent:
        store = self._store
        models = [self._runs[run.id] for run in job.runs if run.id in self._runs]
        if job.shown and not job.silent and any(one.loaded is not None for one in models):
            store.show(replace(store.status, state=ManagerState.STOPPING, progress=None))
        for model in models:
            await self._unload(model, job.silent)
        return lifecycle.Event.EMPTIED

    async def _unload(self, model: ModelRun, silently: bool) -> None:
        try:
            await model.unload(silently=silently)
        except Exception as exc:  # noqa: BLE001
            # A model that could not be stopped must not keep others from being started.
            log.error("a model was not stopped", extra={"error": type(exc).__name__})
            model.loaded = None

    def _show_remote(self, run: Run) -> None:
        """Show when a server elsewhere does not answer; it is used again when it does."""
        model, store = self._runs[run.id], self._store
        silent = self.active.silent_seconds() > 0
        plan, note = run.order.plan, run.order.note
        error = (
            f"{plan.name} does not answer at the moment. The server keeps trying, and another engine answers meanwhile:"
            f" start the server at {plan.choice.url}, or choose another model."
        )
        if silent and store.status.error == note:
            log.warning("a remote model does not answer", extra={"reason": error})
        found = model.loaded.engine.status.model if model.loaded is not None else ""
        shown = replace(store.status, model=plan.shown_id(found), error=error if silent else note)
        store.show(shown)

    # Models that were replaced

    def _retire(self, run: Run) -> None:
        """Let a model finish its answers, then unload it."""
        task = self._tasks.spawn(self._finish(self._runs[run.id]), name="retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _finish(self, model: ModelRun) -> None:
        if model.loaded is not None:
            cut = f"{model.plan.name} was stopped by an operator in mid-answer. Ask again."
            await self.active.finish(model.loaded.engine, _FINISH_SECONDS, cut)
        await self._unload(model, silently=True)

    async def _retire_now(self, cut: str) -> None:
        """End all replaced models, and wait for it; their answers end with `cut`."""
        self.active.hurry(cut)
        if self._retiring:
            await asyncio.wait(self._retiring)

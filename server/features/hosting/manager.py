"""One model at a time: the runner of `lifecycle`, which carries out what an operator chose."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Set
from dataclasses import replace

from server.core.aio import cancel_and_wait, in_pool, supervise
from server.core.errors import BadRequest, Conflict, Draining
from server.features.hosting import lifecycle
from server.features.hosting.active_engine import ELSEWHERE, NOTHING_LOADED, STARTED_AGAIN
from server.features.hosting.catalogue.choice import Choice
from server.features.hosting.catalogue.entry import Ability, Model, RunMode
from server.features.hosting.catalogue.launch import Launch
from server.features.hosting.lifecycle import Order, Phase, Run, State
from server.features.hosting.log_progress import LoadProgress
from server.features.hosting.model_run import ModelRun, Tools
from server.features.hosting.planner import usable_port
from server.features.hosting.runtime import Plan, Runtime, StartFailed, refined
from server.features.hosting.status import ManagerState, ManagerStatus, loading_status, wrong_model
from server.models.base import EngineState

log = logging.getLogger(__name__)
# Time for the answers of a replaced model, when it did not have to be stopped first.
_FINISH_SECONDS = 120.0


class Jobs:
    """The models that were begun, and the jobs with them: load, move, watch, start again, empty, retire.

    It decides nothing; see `lifecycle`. All methods belong to the event loop.
    """

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        # By the number of their run
        self._runs: dict[int, ModelRun] = {}
        # Models that were replaced finish their answers here.
        self._retiring: set[asyncio.Task[None]] = set()

    def begun(self, run: Run | None) -> ModelRun | None:
        return self._runs.get(run.id) if run is not None else None

    def keep(self, in_use: Set[int]) -> None:
        """Forget the runs that are neither in use nor loaded."""
        self._runs = {
            number: run
            for number, run in self._runs.items()
            if number in in_use or run.loaded is not None
        }

    def hurry(self) -> None:
        for run in self._runs.values():
            run.hurried = True

    async def carry_out(self, job: lifecycle.Job, *, replacing: bool) -> lifecycle.Event:
        """Do a job, and return how it went. `replacing`: another model goes on if this one fails."""
        match job:
            case lifecycle.Load(run, again):
                return await self._load(run, again, replacing)
            case lifecycle.Move(run, why):
                return await self._move(run, why)
            case lifecycle.Watch(run):
                on_turn = (lambda: self._show_remote(run)) if run.remote else None
                return await self._runs[run.id].watch(on_turn)
            case lifecycle.Restart(run, why, seconds, phase):
                await self._runs[run.id].unload()
                status = loading_status(run.order.plan, None)
                self.tools.store.show(replace(status, progress=LoadProgress(phase), error=why))
                await asyncio.sleep(seconds)
                return lifecycle.Waited()
            case lifecycle.Empty():
                return await self._empty(job)

    async def _load(self, run: Run, again: bool, replacing: bool) -> lifecycle.Event:
        plan = run.order.plan
        if not again and not run.remote:
            # It may need the memory that they hold.
            await self.retire_now(f"{plan.name} takes its place. Ask again.")
        model = self._runs.setdefault(run.id, ModelRun(run, self.tools))
        try:
            await model.load(plan, again=again)
        except StartFailed as error:
            await model.unload()
            why = f"{plan.name} could not be started. {error.message}"
            if replacing:
                log.warning("a model could not be loaded", extra={"reason": why})
            return lifecycle.NotLoaded(why, error.port_taken)
        return lifecycle.Loaded()

    async def _move(self, run: Run, why: str) -> lifecycle.Event:
        tools, plan = self.tools, run.order.plan
        if plan.launch.port is None:
            return lifecycle.NotLoaded(why)
        try:
            choice = plan.choice.model_copy(update={"port": usable_port(None)})
            return lifecycle.Moved(await in_pool(tools.planning, tools.planner, choice, 0, ()))
        except BadRequest:
            # The first reason is the one to show.
            return lifecycle.NotLoaded(why)

    async def _empty(self, job: lifecycle.Empty) -> lifecycle.Event:
        store = self.tools.store
        models = [self._runs[run.id] for run in job.runs if run.id in self._runs]
        if job.shown and not job.silent and any(one.loaded is not None for one in models):
            store.show(replace(store.status, state=ManagerState.STOPPING, progress=None))
        for model in models:
            await self._unload(model, job.silent)
        return lifecycle.Emptied()

    async def _unload(self, model: ModelRun, silently: bool) -> None:
        try:
            await model.unload(silently=silently)
        except Exception as exc:  # noqa: BLE001
            # A model that could not be stopped must not keep others from being started.
            log.error("a model was not stopped", extra={"error": type(exc).__name__})
            model.loaded = None

    def _show_remote(self, run: Run) -> None:
        """Show when a server elsewhere does not answer; it is used again when it does."""
        model, store = self._runs[run.id], self.tools.store
        silent = self.tools.active.silent_seconds() > 0
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

    def retire(self, run: Run) -> None:
        """Let a model finish its answers, then unload it."""
        task = self.tools.tasks.spawn(self._retire(self._runs[run.id]), name="retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, model: ModelRun) -> None:
        if model.loaded is not None:
            cut = f"{model.plan.name} was stopped by an operator in mid-answer. Ask again."
            await self.tools.active.finish(model.loaded.engine, _FINISH_SECONDS, cut)
        await self._unload(model, silently=True)

    async def retire_now(self, cut: str) -> None:
        """End all replaced models, and wait for it; their answers end with `cut`."""
        self.tools.active.hurry(cut)
        if self._retiring:
            await asyncio.wait(self._retiring)


# Seconds before a model that crashed is started again; after the last it has failed.
RESTART_DELAYS = (1.0, 5.0, 20.0)
# Pause after a mistake of ours in carrying out a job
_RETRY_SECONDS = 1.0


class EngineManager:
    """Everything on the event loop; what blocks runs in `planning` and `measuring`.

    `close` ends all. `known`: models, for examples.

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
        self._jobs = Jobs(tools)
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

    @property
    def _run(self) -> ModelRun | None:
        return self._jobs.begun(self._state.run)

    @property
    def _answering(self) -> ModelRun | None:
        """The one that answers until the other one does, else the only one."""
        return self._jobs.begun(self._state.beside) or self._run

    # Asking

    async def preview(self, choice: Choice) -> Launch:
        """Return what `start` would run now. Raises BadRequest."""
        return (await self._planned(choice)).launch

    async def gives_back(self) -> tuple[int, tuple[int, ...]]:
        """Return the bytes of main memory and of each GPU that unloading would free."""
        tools, run = self._jobs.tools, self._answering
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
            self._send(lifecycle.Stop())
        return await self.settled()

    async def settled(self) -> ManagerStatus:
        """Wait until no model is loading or stopping."""
        await self._settled.wait()
        return self._store.status

    async def close(self) -> None:
        """Stop the running model. Safe to call twice."""
        self._jobs.hurry()
        if not self._state.closing:
            self._send(lifecycle.Close())
        await self._settled.wait()
        await self._jobs.retire_now("The server is about to stop. Ask again in a moment.")
        await self._tasks.close()

    async def _planned(self, choice: Choice) -> Plan:
        tools, run = self._jobs.tools, self._answering
        held, gpu_back = await self.gives_back()
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            loaded = run is not None and run.loaded is not None
            own = run.plan.launch.port if run is not None and loaded else None
            choice = choice.model_copy(update={"port": usable_port(choice.port, own)})
        return await in_pool(tools.planning, tools.planner, choice, held, gpu_back)

    # The machine's events and actions

    def _send(self, event: lifecycle.Event) -> None:
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
                self._jobs.retire(run)
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
        plan, model = run.order.plan, self._jobs.begun(run)
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
        working = self._tasks.spawn(
            self._jobs.carry_out(job, replacing=self._state.good is not None),
            name=type(job).__name__.lower(),
        )
        changed = self._tasks.spawn(self._changed.wait(), name="changed")
        try:
            await asyncio.wait((working, changed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait((working, changed))
        # Otherwise an operator was faster, and its end no longer counts.
        if self._job is job and not working.cancelled():
            self._end(working)
        in_use = {run.id for run in (self._state.run, self._state.beside) if run is not None}
        self._jobs.keep(in_use)
        return 0.0

    def _end(self, job: asyncio.Task[lifecycle.Event]) -> None:
        """Go on with a job's event, or with Broke: no job that ended is carried out again."""
        if job.exception() is not None:
            self._send(lifecycle.Broke())
            return
        try:
            self._send(job.result())
        except Exception:
            if self._state.phase in lifecycle.BREAKABLE:
                self._send(lifecycle.Broke())
            raise

"""One model at a time: what an operator chose takes the place of what ran before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from server.aio import TaskSet, cancel_and_wait, in_pool
from server.catalogue.command import Choice, Launch
from server.catalogue.entry import Ability, Model, RunMode
from server.engines.base import EngineState
from server.engines.loaded import Loaded, OnLine
from server.engines.managed import NOTHING_LOADED, ManagedEngine
from server.engines.manager_board import Board
from server.engines.manager_status import (
    ManagerState,
    ManagerStatus,
    Plan,
    loading_status,
    wrong_model,
)
from server.engines.model_run import (
    RESTART_DELAYS,
    SILENT_SECONDS,
    GpuFree,
    Loader,
    MakePlan,
    ModelRun,
    Selector,
    Tools,
)
from server.engines.planner import usable_port
from server.errors import BadRequest, Conflict, Draining

log = logging.getLogger(__name__)

_OUR_FAULT = "Something went wrong inside this program; its log says where. Start the model again, or choose another."


class EngineManager:
    """Everything on the event loop; what blocks runs in `planning` and `measuring`. `close` ends all.

    `refusals`: what `planner` raises, each with a `message` for people. `gpu_free`: bytes of free memory of each GPU, None
    where there is none. `known`: models, for examples.
    """

    def __init__(
        self,
        place: ManagedEngine,
        engines: Selector,
        *,
        planning: ThreadPoolExecutor,
        measuring: ThreadPoolExecutor,
        planner: MakePlan,
        loader: Loader,
        refusals: tuple[type[Exception], ...],
        known: Callable[[], Iterable[Model]] = tuple,
        gpu_free: GpuFree = lambda: None,
        restart_delays: tuple[float, ...] = RESTART_DELAYS,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self.place = place
        self._engines = engines
        self._known = known
        self._board = Board()
        self._tasks = TaskSet("manager")
        self._tools = Tools(
            place,
            engines,
            self._board,
            self._tasks,
            planning,
            measuring,
            planner,
            loader,
            refusals,
            gpu_free,
            restart_delays,
            silent_seconds,
        )
        self._planning = asyncio.Lock()
        # Starts and stops in the order in which they were asked for, and the last stop among them
        self._orders = self._last_stop = 0
        # What is to run, None for nothing; and what runs or is being started or stopped, or has failed.
        self._wanted: Plan | None = None
        self._run: ModelRun | None = None
        # Set while something else is wanted than what runs
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
        ready = self._board.status.state is ManagerState.READY
        return self._run.loaded if self._run is not None and ready else None

    def on_change(self, callback: Callable[[ManagerStatus], None]) -> Callable[[], None]:
        """Be told each new status. The result unsubscribes."""
        return self._board.on_change(callback)

    def on_line(self, callback: OnLine) -> Callable[[], None]:
        """Be told the engine's own log lines, without secrets. The result unsubscribes."""
        return self._board.on_line(callback)

    def require(self, *abilities: Ability) -> Model:
        """The loaded model, which can do one of these. Raises WrongModel."""
        model = self._run.plan.model if self._run is not None else None
        ready = self._board.status.state is ManagerState.READY
        if ready and model and not model.abilities.isdisjoint(abilities):
            return model
        raise wrong_model(self._board.status, model, abilities, self._known())

    # What to do

    async def preview(self, choice: Choice) -> Launch:
        """What `start` would run now. Raises BadRequest."""
        return (await self._planned(choice)).launch

    async def gives_back(self) -> tuple[int, tuple[int, ...]]:
        """Bytes of main memory, and of each GPU, that would be free without what is loaded."""
        tools, run = self._tools, self._run
        gpus: tuple[int, ...] = ()
        if run is not None and run.loaded is not None:
            gpus = run.gives_back(await in_pool(tools.measuring, tools.gpu_free))
        return self._board.status.memory_bytes or 0, gpus

    async def start(self, choice: Choice, *, preferred: bool = True) -> ManagerStatus:
        """Load this model in place of any other; returns when that has begun, `settled` when it is done.

        What can not be is refused, and nothing changes: BadRequest; Draining once it is closed; Conflict when somebody
        stopped it before it had begun. A model that is being loaded is given up. `preferred`: it goes before every other
        engine while it is able to answer.
        """
        order = self._order()
        async with self._planning:
            plan = await self._planned(choice)
            if self._closing:
                raise Draining("The server is about to stop and starts nothing any more.")
            if self._last_stop > order:
                raise Conflict(
                    f"{plan.name} was stopped by an operator before it began to load. Start it again if it is wanted."
                )
            self._want(plan)
            self._engines.prefer(self.place if preferred else None)
        return self._board.status

    async def begin(self, choice: Choice) -> None:
        """`start` for the model that the settings name: what can not be is told by the status, and not raised."""
        name = choice.model.rpartition("/")[2]
        self.place.leave(EngineState.LOADING, f"{name} is about to be loaded.")
        try:
            await self.start(choice, preferred=False)
        except Conflict:
            log.info("the model of the settings was stopped before it began to load")
        except (BadRequest, Draining) as error:
            log.warning("LOCAL_MODEL cannot be loaded", extra={"reason": error.message})
            self.place.leave(EngineState.MISCONFIGURED, error.message)
            self._engines.look()
            failed = replace(self._board.status, state=ManagerState.FAILED, model=name)
            self._board.show(replace(failed, mode=choice.mode, error=error.message))

    async def stop(self) -> ManagerStatus:
        """Unload; returns when its memory is given back. What is about to be started is not."""
        self._last_stop = self._order()
        self._engines.prefer(None)
        self._want(None)
        return await self.settled()

    async def settled(self) -> ManagerStatus:
        """Wait until nothing is loading or stopping."""
        await self._settled.wait()
        return self._board.status

    async def close(self) -> None:
        """Stop what runs. Safe to call twice."""
        self._closing = True
        self._wanted = None
        self._changed.set()
        if self._run is not None:
            self._run.hurried = True
        if self._worker is not None:
            await asyncio.wait([self._worker])
        await self._tasks.close()

    def _order(self) -> int:
        self._orders += 1
        return self._orders

    async def _planned(self, choice: Choice) -> Plan:
        tools, run = self._tools, self._run
        held, gpu_back = await self.gives_back()
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            loaded = run is not None and run.loaded is not None
            own = run.plan.launch.port if run is not None and loaded else None
            choice = choice.model_copy(update={"port": usable_port(choice.port, own)})
        try:
            return await in_pool(tools.planning, tools.planner, choice, held, gpu_back)
        except tools.refusals as error:
            raise BadRequest(getattr(error, "message", "This can not be started.")) from None

    def _want(self, plan: Plan | None) -> None:
        self._wanted = plan
        if self._worker is None or self._worker.done():
            if plan is None:
                self._idle()
                return
            self._worker = self._tasks.spawn(self._work(), name="work")
        self._settled.clear()
        if plan is not None and (self._run is None or self._run.loaded is None):
            self._board.show(loading_status(plan, self._board.status.released))
            self.place.leave(EngineState.LOADING, f"{plan.name} is being loaded.")
        self._changed.set()

    def _under_way(self, yes: bool) -> None:
        """Of the model that runs. What is ready while another is wanted already settles nothing."""
        if yes:
            self._settled.clear()
        elif not self._changed.is_set():
            self._settled.set()

    # The one task that starts and stops engines

    async def _work(self) -> None:
        while True:
            self._changed.clear()
            plan = self._wanted
            if plan is not None:
                await self._carry_out(plan)
                continue
            self._run = None
            self._idle()
            if self._closing:
                return
            await self._changed.wait()

    async def _carry_out(self, plan: Plan) -> None:
        """Until something else is wanted; nothing of it is left then."""
        run = self._run = ModelRun(plan, self._tools, self._under_way)
        keeping = self._tasks.spawn(run.keep(), name="keep")
        changed = self._tasks.spawn(self._changed.wait(), name="changed")
        try:
            await asyncio.wait((keeping, changed), return_when=asyncio.FIRST_COMPLETED)
            if keeping.done() and keeping.exception() is not None:
                await run.give_up(_OUR_FAULT)
            await changed
        finally:
            await cancel_and_wait((keeping, changed))
        self._part(run)
        await run.end()

    def _part(self, run: ModelRun) -> None:
        name = run.plan.name
        by_operator = f"{name} was stopped by an operator in mid-answer. Ask again."
        if self._closing:
            leaving = "The server is about to stop."
            run.part(EngineState.UNREACHABLE, leaving, f"{leaving} Ask again in a moment.")
        elif self._wanted is None:
            run.part(EngineState.UNREACHABLE, f"{name} has been stopped.", by_operator)
        else:
            detail = f"{self._wanted.name} is being loaded."
            run.part(EngineState.LOADING, detail, by_operator)

    def _idle(self) -> None:
        self.place.leave(EngineState.UNREACHABLE, NOTHING_LOADED)
        self._board.show(ManagerStatus(released=self._board.status.released))
        self._settled.set()

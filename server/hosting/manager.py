"""One model at a time: what an operator chose takes the place of what ran before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from server.catalogue.choice import Choice
from server.catalogue.entry import Ability, Model, RunMode
from server.catalogue.launch import Launch
from server.core.aio import TaskSet, cancel_and_wait, in_pool
from server.core.errors import BadRequest, Conflict, Draining
from server.engines.base import EngineState
from server.hosting.board import Board
from server.hosting.engine_slot import NOTHING_LOADED, EngineSlot
from server.hosting.model_run import (
    RESTART_DELAYS,
    SILENT_SECONDS,
    GpuFree,
    Loader,
    MakePlan,
    ModelRun,
    Selector,
    Tools,
    joined,
)
from server.hosting.planner import usable_port
from server.hosting.runtimes import Loaded, OnLine
from server.hosting.status import ManagerState, ManagerStatus, Plan, loading_status, wrong_model

log = logging.getLogger(__name__)

_OUR_FAULT = "Something went wrong inside this program; its log says where. Start the model again, or choose another."


# Answers of a model that another one has replaced may go on for so long, where nothing had to be stopped for that one.
_FINISH_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to run."""

    plan: Plan
    # It goes before every other engine.
    preferred: bool = True
    # Why, where no operator chose it
    note: str = ""


class EngineManager:
    """Everything on the event loop; what blocks runs in `planning` and `measuring`. `close` ends all.

    `refusals`: what `planner` raises, each with a `message` for people. `gpu_free`: bytes of free memory of each GPU, None
    where there is none. `known`: models, for examples.
    """

    def __init__(
        self,
        slot: EngineSlot,
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
        self.slot = slot
        self._engines = engines
        self._known = known
        self._board = Board()
        self._tasks = TaskSet("manager")
        self._tools = Tools(
            slot,
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
        self._wanted: Order | None = None
        self._run: ModelRun | None = None
        # The last one that worked, to go back to; and its run while it answers beside the one that is to take its place.
        self._good: Order | None = None
        self._before: ModelRun | None = None
        # What was ordered to go back to it, and by no operator
        self._back: Order | None = None
        # Those that were replaced end here.
        self._retiring: set[asyncio.Task[None]] = set()
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
        tools, run = self._tools, self._before or self._run
        gpus: tuple[int, ...] = ()
        if run is not None and run.loaded is not None:
            gpus = run.gives_back(await in_pool(tools.measuring, tools.gpu_free))
        return self._board.status.memory_bytes or 0, gpus

    async def start(self, choice: Choice, *, preferred: bool = True) -> ManagerStatus:
        """Load this model in place of any other; returns when that has begun, `settled` when it is done.

        What cannot be is refused, and nothing changes: BadRequest; Draining once it is closed; Conflict when somebody
        stopped it before it had begun. A model that is being loaded is given up. `preferred`: it goes before every other
        engine while it is able to answer. Where either of the two runs elsewhere, the one before answers until this one
        does. One that cannot be loaded gives its place back to the last one that worked.
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
            self._want(Order(plan, preferred))
            self._engines.prefer(self.slot if preferred else None)
        return self._board.status

    async def begin(self, choice: Choice) -> None:
        """`start` for the model that the settings name: what cannot be is told by the status, and not raised."""
        name = choice.model.rpartition("/")[2]
        self.slot.leave(EngineState.LOADING, f"{name} is about to be loaded.")
        try:
            await self.start(choice, preferred=False)
        except Conflict:
            log.info("the model of the settings was stopped before it began to load")
        except (BadRequest, Draining) as error:
            log.warning("LOCAL_MODEL cannot be loaded", extra={"reason": error.message})
            self.slot.leave(EngineState.MISCONFIGURED, error.message)
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
        for run in (self._run, self._before):
            if run is not None:
                run.hurried = True
        if self._worker is not None:
            await asyncio.wait([self._worker])
        await self._retire_now("The server is about to stop. Ask again in a moment.")
        await self._tasks.close()

    def _order(self) -> int:
        self._orders += 1
        return self._orders

    async def _planned(self, choice: Choice) -> Plan:
        tools, run = self._tools, self._before or self._run
        held, gpu_back = await self.gives_back()
        if choice.mode in (RunMode.SUBPROCESS, RunMode.CONTAINER):
            loaded = run is not None and run.loaded is not None
            own = run.plan.launch.port if run is not None and loaded else None
            choice = choice.model_copy(update={"port": usable_port(choice.port, own)})
        try:
            return await in_pool(tools.planning, tools.planner, choice, held, gpu_back)
        except tools.refusals as error:
            raise BadRequest(getattr(error, "message", "This cannot be started.")) from None

    def _want(self, order: Order | None) -> None:
        self._wanted = order
        if self._worker is None or self._worker.done():
            if order is None:
                self._idle()
                return
            self._worker = self._tasks.spawn(self._work(), name="work")
        self._settled.clear()
        nothing = self._before is None and (self._run is None or self._run.loaded is None)
        if order is not None and nothing:
            self._board.show(loading_status(order.plan, self._board.status.released))
            self.slot.leave(EngineState.LOADING, f"{order.plan.name} is being loaded.")
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
            order = self._wanted
            if order is not None:
                await self._carry_out(order)
                continue
            self._run = None
            self._idle()
            if self._closing:
                return
            await self._changed.wait()

    async def _carry_out(self, order: Order) -> None:
        """Until something else is wanted; nothing of it is left then but what answers until its successor does."""
        if order is self._back and self._before is not None:
            # It goes on: what was to take its place could not.
            run, self._before = self._before, None
            run.go_on(order.note)
        else:
            run = ModelRun(
                order.plan,
                self._tools,
                self._under_way,
                beside=self._before is not None,
                fallback=self._good is not None,
                note=order.note,
                on_ready=self._took_over,
            )
            if order.plan.choice.mode is not RunMode.REMOTE:
                # It may need what they hold.
                await self._retire_now(f"{order.plan.name} takes its place. Ask again.")
        self._run = run
        keeping = self._tasks.spawn(run.keep(), name="keep")
        changed = self._tasks.spawn(self._changed.wait(), name="changed")
        try:
            await asyncio.wait((keeping, changed), return_when=asyncio.FIRST_COMPLETED)
            if keeping.done() and not self._changed.is_set():
                await self._ended(run, keeping)
            await changed
        finally:
            await cancel_and_wait((keeping, changed))
        await self._make_room(order, run)

    async def _ended(self, run: ModelRun, keeping: asyncio.Task[str]) -> None:
        """It has failed: go back to the model that worked before, where there is one that it was to replace."""
        why = keeping.result() if keeping.exception() is None else _OUR_FAULT
        if not why:
            return
        good, before = self._good, self._before
        if good is None or run.ready:
            await run.give_up(why)
            return
        await run.end(silently=before is not None)
        if self._changed.is_set():
            return
        log.warning("a model could not be loaded", extra={"reason": why})
        name = good.plan.name
        if before is not None:
            # It was never stopped.
            note = joined(why, f"{name} answers on.")
        else:
            self._good = None
            note = joined(why, f"{name}, which worked before, is loaded again.")
        self._engines.prefer(self.slot if good.preferred else None)
        self._back = replace(good, note=note)
        self._want(self._back)

    def _took_over(self) -> None:
        """What was to be loaded answers: the one before it has no more to do than to end its answers."""
        run, self._before = self._before, None
        self._good = None
        if run is not None:
            task = self._tasks.spawn(self._retire(run), name="retire")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, run: ModelRun) -> None:
        if run.loaded is not None:
            cut = f"{run.plan.name} was stopped by an operator in mid-answer. Ask again."
            await self.slot.finish(run.loaded.engine, _FINISH_SECONDS, cut)
        await run.end(silently=True)

    async def _retire_now(self, cut: str) -> None:
        """Wait until nothing is left of the models that were replaced; their answers end with `cut`."""
        self.slot.hurry(cut)
        if self._retiring:
            await asyncio.wait(self._retiring)

    async def _make_room(self, order: Order, run: ModelRun) -> None:
        """Stop what has to go before what is wanted now can begin."""
        wanted, before = self._wanted, self._before
        if wanted is not None and wanted is self._back:
            return
        if wanted is None:
            self._good = None
        elif run.ready or order is self._back:
            self._good = replace(order, note="")
        # The one of the two that answers
        answers = run if run.up else before
        stays = answers is not None and wanted is not None and not self._closing
        if stays and answers is not None and wanted is not None:
            modes = (answers.plan.choice.mode, wanted.plan.choice.mode)
            stays = RunMode.REMOTE in modes and answers.loaded is not None
        self._before = answers if stays else None
        if not stays:
            self._part(answers or run)
        for one in (run, before):
            if one is not None and one is not self._before:
                await one.end(silently=stays)

    def _part(self, run: ModelRun) -> None:
        name = run.plan.name
        by_operator = f"{name} was stopped by an operator in mid-answer. Ask again."
        if self._closing:
            leaving = "The server is about to stop."
            run.part(EngineState.UNREACHABLE, leaving, f"{leaving} Ask again in a moment.")
        elif self._wanted is None:
            run.part(EngineState.UNREACHABLE, f"{name} has been stopped.", by_operator)
        else:
            detail = f"{self._wanted.plan.name} is being loaded."
            run.part(EngineState.LOADING, detail, by_operator)

    def _idle(self) -> None:
        self.slot.leave(EngineState.UNREACHABLE, NOTHING_LOADED)
        self._board.show(ManagerStatus(released=self._board.status.released))
        self._settled.set()

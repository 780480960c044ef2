"""Jobs with models that were begun: load, move, watch, start again, empty, retire.

It decides nothing; see `lifecycle`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from dataclasses import replace

from server.core.aio import in_pool
from server.hosting import actions, events
from server.hosting.model_run import ModelRun, Tools
from server.hosting.planner import usable_port
from server.hosting.runtime import StartFailed
from server.hosting.status import ManagerState, Run, loading_status
from server.processes.log_progress import LoadProgress

log = logging.getLogger(__name__)

# Time for the answers of a replaced model, when it did not have to be stopped first.
_FINISH_SECONDS = 120.0


class Jobs:
    """Owner of the models that were begun. All methods belong to the event loop."""

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

    async def carry_out(self, job: actions.Job, *, replacing: bool) -> events.Event:
        """Do a job, and return how it went. `replacing`: another model goes on if this one fails."""
        match job:
            case actions.Load(run, again):
                return await self._load(run, again, replacing)
            case actions.Move(run, why):
                return await self._move(run, why)
            case actions.Watch(run):
                on_turn = (lambda: self._show_remote(run)) if run.remote else None
                return await self._runs[run.id].watch(on_turn)
            case actions.Restart(run, why, seconds, phase):
                await self._runs[run.id].unload()
                status = loading_status(run.order.plan, None)
                self.tools.board.show(replace(status, progress=LoadProgress(phase), error=why))
                await asyncio.sleep(seconds)
                return events.Waited()
            case actions.Empty():
                return await self._empty(job)

    async def _load(self, run: Run, again: bool, replacing: bool) -> events.Event:
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
            return events.NotLoaded(why, error.port_taken)
        return events.Loaded()

    async def _move(self, run: Run, why: str) -> events.Event:
        tools, plan = self.tools, run.order.plan
        if plan.launch.port is None:
            return events.NotLoaded(why)
        try:
            choice = plan.choice.model_copy(update={"port": usable_port(None)})
            return events.Moved(await in_pool(tools.planning, tools.planner, choice, 0, ()))
        except tools.refusals:
            # The first reason is the one to show.
            return events.NotLoaded(why)

    async def _empty(self, job: actions.Empty) -> events.Event:
        board = self.tools.board
        models = [self._runs[run.id] for run in job.runs if run.id in self._runs]
        if job.shown and not job.silent and any(one.loaded is not None for one in models):
            board.show(replace(board.status, state=ManagerState.STOPPING, progress=None))
        for model in models:
            await self._unload(model, job.silent)
        return events.Emptied()

    async def _unload(self, model: ModelRun, silently: bool) -> None:
        try:
            await model.unload(silently=silently)
        except Exception as exc:  # noqa: BLE001
            # A model that could not be stopped must not keep others from being started.
            log.error("a model was not stopped", extra={"error": type(exc).__name__})
            model.loaded = None

    def _show_remote(self, run: Run) -> None:
        """Show when a server elsewhere does not answer; it is used again when it does."""
        model, board = self._runs[run.id], self.tools.board
        silent = self.tools.slot.silent_seconds() > 0
        plan, note = run.order.plan, run.order.note
        error = (
            f"{plan.name} does not answer at the moment. The server keeps trying, and another engine answers meanwhile:"
            f" start the server at {plan.choice.url}, or choose another model."
        )
        if silent and board.status.error == note:
            log.warning("a remote model does not answer", extra={"reason": error})
        found = model.loaded.engine.status.model if model.loaded is not None else ""
        shown = replace(board.status, model=plan.shown_id(found), error=error if silent else note)
        board.show(shown)

    # Models that were replaced

    def retire(self, run: Run) -> None:
        """Let a model finish its answers, then unload it."""
        task = self.tools.tasks.spawn(self._retire(self._runs[run.id]), name="retire")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, model: ModelRun) -> None:
        if model.loaded is not None:
            cut = f"{model.plan.name} was stopped by an operator in mid-answer. Ask again."
            await self.tools.slot.finish(model.loaded.engine, _FINISH_SECONDS, cut)
        await self._unload(model, silently=True)

    async def retire_now(self, cut: str) -> None:
        """End all replaced models, and wait for it; their answers end with `cut`."""
        self.tools.slot.hurry(cut)
        if self._retiring:
            await asyncio.wait(self._retiring)

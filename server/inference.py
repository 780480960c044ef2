"""The inference queue: who is asked next, on which engine, and how a piece of work is stopped.

One per process. Questions come before watches before descriptions, sessions take turns, a session has at most one
question and one background job running, and a question that finds every slot taken stops the newest background job.
All methods are called on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from server.core.aio import TaskSet
from server.core.errors import (
    Busy,
    Draining,
    EngineError,
    EngineFailed,
    EngineLoading,
    EngineTimeout,
    EngineUnavailable,
    Internal,
    QwenCameraError,
)
from server.core.frames import Kind
from server.core.metrics import Metrics
from server.engines.base import Engine
from server.queue.fair_queue import BACKGROUND, FairQueue, Full
from server.queue.run import CANCEL_REASONS, CLOSE_SECONDS, Job, Result, Run, Sink

__all__ = ["CANCEL_REASONS", "Engines", "Inference", "Job", "Result", "Sink"]

log = logging.getLogger(__name__)

# These say that the engine is at fault, not the request: another one may do better.
_ENGINE_FAULTS = (EngineUnavailable, EngineLoading, EngineTimeout, EngineFailed)
# Weight of the newest answer in the running mean that `retry_after` is made from, and the mean's first value.
_MEAN_WEIGHT = 0.2
_FIRST_GUESS_SECONDS = 1.0
_RETRY_SECONDS = (0.5, 60.0)


class Engines(Protocol):
    """Who answers now."""

    @property
    def current(self) -> Engine: ...

    def report_failure(self, engine: Engine) -> None:
        """This engine did not answer: look at it again."""
        ...

    async def settle(self) -> None:
        """Wait until a reported failure has been looked into and `current` is right again."""
        ...


class Inference:
    """`submit` and `cancel` work, then `drain` and `close`.

    Slots: the smaller of `max_concurrent` and what the current engine states, looked up each time. A slot is given
    back when the engine has let go of the stream, not before, so a model server never gets more than that. (Jobs
    that fall back together keep their slots, so for a moment a narrow engine may get more than it states.)
    """

    def __init__(
        self,
        engines: Engines,
        *,
        max_concurrent: int,
        max_queue: int,
        metrics: Metrics,
        settle_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_concurrent < 1:
            raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 1")
        self._engines = engines
        self._max_concurrent = max_concurrent
        self._metrics = metrics
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._queue: FairQueue[Run] = FairQueue(max_queue)
        # Jobs that have not ended, waiting or running.
        self._runs: dict[Job, Run] = {}
        # What holds a slot, oldest first: running, or ended and letting go of its engine.
        self._slots: dict[Run, asyncio.Task[None]] = {}
        # (session, background?) of what runs and has not ended.
        self._active: set[tuple[str, bool]] = set()
        self._tasks = TaskSet("inference")
        self._draining = False
        # Running mean of the time an answer holds its slot, seconds.
        self._answer_seconds = _FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Slots in use."""
        return len(self._slots)

    @property
    def slots(self) -> int:
        """Answers that may be worked on at a time, as things stand."""
        stated = self._engines.current.status.capabilities.max_concurrency
        return self._max_concurrent if stated is None else max(1, min(self._max_concurrent, stated))

    @property
    def draining(self) -> bool:
        """No new work is taken."""
        return self._draining

    def depth(self) -> dict[Kind, int]:
        """Waiting jobs of each kind."""
        return self._queue.depth()

    def submit(self, job: Job) -> None:
        """Take a job; its sink hears the rest.

        Raises Draining, and Busy (with `retry_after`) for a question when the queue is full of questions; the sink
        then hears nothing. Background work never raises Busy: what the full queue refuses, or lets go for a question,
        is told `failed(Busy)`, and what a newer job of its session replaced `finished` with "replaced".
        """
        if self._draining:
            raise Draining("The server is shutting down and takes no new work. Try again shortly.")
        if job in self._runs:
            raise ValueError("this job was submitted already")
        run = Run(job, self._metrics, self._clock, self._ended, self._clock())
        try:
            pushed = self._queue.push(job.session_id, job.kind, run)
        except Full:
            self._metrics.inferences.labels(job.kind, "dropped").inc()
            raise self._busy() from None
        self._runs[job] = run
        self._fill()
        # Told last: a sink may submit or cancel from within.
        if pushed.replaced is not None:
            pushed.replaced.replace()
        if pushed.evicted is not None:
            pushed.evicted.fail(self._busy(), dropped=True)

    def cancel(self, job: Job, reason: str) -> None:
        """Stop a job; nothing happens when it has ended.

        Waiting, it leaves the queue. Running, its task is cancelled, which closes the engine's stream and with it the
        work upstream. Its sink has heard `finished` when this returns.
        """
        if (run := self._runs.get(job)) is not None:
            self._stop(run, reason)
            self._fill()

    def cancel_session(self, session_id: str, reason: str) -> None:
        """Stop all of a session's jobs."""
        self._cancel_where(lambda job: job.session_id == session_id, reason)

    def cancel_background(self, session_id: str, reason: str) -> None:
        """Stop a session's watches and descriptions."""
        self._cancel_where(lambda job: job.session_id == session_id and job.background, reason)

    def engine_changed(self) -> None:
        """Fill the slots that another engine may have brought."""
        self._fill()

    async def drain(self, seconds: float) -> None:
        """Take no new work, drop background work, and give questions so long to be answered.

        What runs by then is stopped, what still waits fails with Draining. Cancelling leaves the rest to `close`.
        """
        self._draining = True
        for run in [run for run in self._runs.values() if run.job.background]:
            self._let_go(run)
        deadline = self._clock() + seconds
        while self._slots and (left := deadline - self._clock()) > 0:
            await asyncio.wait(
                self._slots.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED
            )
        await self.close()

    async def close(self) -> None:
        """Stop everything and wait until the engines have let go. Safe to call twice."""
        self._draining = True
        for run in list(self._runs.values()):
            self._let_go(run)
        if self._slots:
            # Not cancelled a second time at once: that would cut short how an engine closes its stream.
            await asyncio.wait(self._slots.values(), timeout=CLOSE_SECONDS)
        await self._tasks.close()
        # Slots are given back by callbacks of the tasks, which run after the tasks are done.
        await asyncio.sleep(0)

    # Scheduling

    def _held_back(self, session_id: str, kind: Kind) -> bool:
        return (session_id, kind in BACKGROUND) in self._active

    def _fill(self) -> None:
        """Start what may start; then, while questions find no slot, stop background jobs for them."""
        slots = self.slots
        while len(self._slots) < slots:
            run = self._queue.pop(skip=self._held_back)
            if run is None:
                return
            self._start(run)
        while (newest := self._newest_background()) is not None and self._short_of(slots):
            self._stop(newest, "preempted")

    def _short_of(self, slots: int) -> bool:
        """Do more questions wait than slots are about to be given back?"""
        ready = self._queue.ready_sessions(Kind.CHAT, self._held_back)
        return ready > 0 and ready + sum(not run.ended for run in self._slots) > slots

    def _newest_background(self) -> Run | None:
        return next(
            (run for run in reversed(self._slots) if run.job.background and not run.ended), None
        )

    def _start(self, run: Run) -> None:
        job = run.job
        self._active.add((job.session_id, job.background))
        run.begin()
        task = self._tasks.spawn(self._work(run), name=job.kind)
        self._slots[run] = task
        task.add_done_callback(lambda _: self._freed(run))

    def _freed(self, run: Run) -> None:
        del self._slots[run]
        self._fill()

    def _ended(self, run: Run) -> None:
        """Bookkeeping of a job's end; a slot it holds is given back later, by its task."""
        job = run.job
        self._runs.pop(job, None)
        if run.slot_at is None:
            self._queue.remove(run)
            return
        self._active.discard((job.session_id, job.background))
        if run.result in ("ok", "length"):
            held = self._clock() - run.slot_at
            self._answer_seconds += _MEAN_WEIGHT * (held - self._answer_seconds)

    def _stop(self, run: Run, reason: str) -> None:
        run.stop(reason)
        task = self._slots.get(run)
        # A sink may cancel its own job from within: the task then sees that the run has ended, and closes the
        # stream undisturbed.
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _cancel_where(self, chosen: Callable[[Job], bool], reason: str) -> None:
        # Nothing starts between: slots are filled once all are stopped.
        for run in [run for job, run in self._runs.items() if chosen(job)]:
            self._stop(run, reason)
        self._fill()

    def _let_go(self, run: Run) -> None:
        if run.slot_at is None:
            run.fail(Draining("The server is shutting down. Ask again in a moment."), dropped=True)
        else:
            self._stop(run, "draining")

    def _busy(self) -> Busy:
        waiting = len(self._queue)
        estimate = self._answer_seconds * (waiting + 1) / self.slots
        low, high = _RETRY_SECONDS
        return Busy(
            f"The model is busy: {waiting} requests wait already. Try again in a moment.",
            retry_after=round(min(high, max(low, estimate)), 1),
        )

    # One job

    async def _work(self, run: Run) -> None:
        try:
            await self._answer(run)
        except asyncio.CancelledError:
            # Nothing to tell when `_stop` did; else the loop itself is ending.
            run.stop("draining")
            raise
        except QwenCameraError as error:
            run.fail(error)
        except Exception as exc:  # noqa: BLE001
            # One job's fault, a sink's too, must not end others. Not its text: it may hold what people said.
            log.error("job failed", extra={"kind": str(run.job.kind), "error": type(exc).__name__})
            run.fail(Internal("Something went wrong with this answer on the server. Ask again."))

    async def _answer(self, run: Run) -> None:
        engine, spare = self._engines.current, True
        while True:
            try:
                await run.attempt(engine)
                return
            except EngineError as error:
                log.warning(
                    "engine failed",
                    extra={"engine": engine.name, "code": error.code, "reason": error.message},
                )
                if not isinstance(error, _ENGINE_FAULTS):
                    raise
                self._engines.report_failure(engine)
                # Two answers are never spliced: once text went out, this error is the end.
                if not spare or run.first_at is not None or run.ended:
                    raise
                other = await self._other(engine)
                if other is None:
                    raise
            engine, spare = other, False

    async def _other(self, failed: Engine) -> Engine | None:
        """The engine that has taken over from a failed one; None when none has in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settle_seconds):
                await self._engines.settle()
        other = self._engines.current
        return other if other is not failed and other.status.ready else None

"""The inference queue: schedules jobs on engines, and stops them.

Each process has one queue, with a lane for each engine, so that engines do not wait for each other. In a
lane, questions precede watches, and watches precede descriptions. Sessions take turns, each with at most
one running question and one running background job. If all slots are in use, a new question stops the
newest background job. All methods are called on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
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
from server.core.frames import JobKind, Role
from server.core.metrics import Metrics
from server.models.base import Engine
from server.models.scheduler.fairness import BACKGROUND, FairQueue, Full
from server.models.scheduler.job import CLOSE_SECONDS, Job

log = logging.getLogger(__name__)
# Concurrent answers if neither the setting nor the engine has a limit: as many as one large GPU computes in parallel
MOST_AT_ONCE = 64
# Maximum number of consecutive watches while descriptions wait
_MOST_WATCHES = 2
# Weight of the newest answer in the running mean for `retry_after`, and the mean's initial value.
_MEAN_WEIGHT = 0.2
_FIRST_GUESS_SECONDS = 1.0
_RETRY_SECONDS = (0.5, 60.0)
# Roles for whose work a person waits
_ASKED = (Role.ANSWERS, Role.READS)
# Errors caused by the engine rather than the request, after which another engine may succeed
_ENGINE_FAULTS = (EngineUnavailable, EngineLoading, EngineTimeout, EngineFailed)


class Engines(Protocol):
    """The choice of engines."""

    def of(self, role: Role) -> Engine:
        """Return the engine in use for a role."""

    def report_failure(self, engine: Engine) -> None:
        """Report a failed request, so that the engine is probed again."""

    async def wait_probed(self, engine: Engine) -> None:
        """Wait until the engine was probed after a reported failure, so that `of` is up to date."""


class Lane:
    """The waiting and running jobs of one engine.

    The number of slots is the minimum of `most` and the engine's own limit, which is read each time. A slot
    is freed only when the engine has closed the stream, so that a model server never gets more requests.
    (Jobs that another engine takes over keep their slots, so that engine may briefly get more than its limit.)
    """

    def __init__(
        self,
        engine: Engine,
        *,
        most: int,
        max_queue: int,
        start: Callable[[Job], asyncio.Task[None]],
        asked: Callable[[], bool],
    ) -> None:
        """`start(job)` runs a job; `asked()` returns whether the engine gets people's questions."""
        self.engine = engine
        self._most = most
        self._start_run = start
        self._of_questions = asked
        self.queue: FairQueue[Job] = FairQueue(max_queue)
        # Jobs with a slot, oldest first: running, or ended and closing their stream
        self.running: dict[Job, asyncio.Task[None]] = {}
        # Consecutive watches since the last job of a less urgent kind
        self._watches_before = 0

    @property
    def slots(self) -> int:
        """Maximum concurrent answers now."""
        stated = self.engine.status.capabilities.max_concurrency
        return self._most if stated is None else max(1, min(self._most, stated))

    def fill(self) -> None:
        """Start waiting jobs; then stop background jobs as long as questions wait for a slot."""
        slots = self.slots
        while len(self.running) < slots:
            job = self.queue.pop((JobKind.CHAT,), self._is_held_back) or self._pop_background(slots)
            if job is None:
                return
            self._start(job)
        while (newest := self._get_newest_background()) is not None and self._needs_slots(slots):
            self.stop(newest, "preempted")

    def stop(self, job: Job, reason: str) -> None:
        job.stop(reason)
        task = self.running.get(job)
        # An observer may cancel its own job in a callback; the task then sees that the job has
        # ended, and closes the stream without being cancelled.
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _is_held_back(self, session_id: str, kind: JobKind) -> bool:
        """Return whether the session already runs a job of this class (question or background) here."""
        background = kind in BACKGROUND
        return any(
            job.session_id == session_id and job.background == background and not job.ended
            for job in self.running
        )

    def _pop_background(self, slots: int) -> Job | None:
        """Pop the next background job, if the engine has a slot for it.

        On an engine for people's questions, one slot stays free, and only one background prompt is processed
        at a time, so that a question waits for at most one prompt. Every third job is of a kind less urgent
        than watches, if such a job waits, so that no kind starves.
        """
        if self._of_questions():
            if slots > 1 and len(self.running) == slots - 1:
                return None
            if any(
                job.background and job.run.begun_at is None and not job.ended
                for job in self.running
            ):
                return None
        job = None
        if self._watches_before >= _MOST_WATCHES:
            job = self.queue.pop(BACKGROUND[1:], self._is_held_back)
        job = job or self.queue.pop(BACKGROUND, self._is_held_back)
        if job is not None:
            self._watches_before = self._watches_before + 1 if job.kind is JobKind.WATCH else 0
        return job

    def _needs_slots(self, slots: int) -> bool:
        """Return whether more questions wait than slots are about to be freed."""
        ready = self.queue.count_ready_sessions(JobKind.CHAT, self._is_held_back)
        return ready > 0 and ready + sum(not job.ended for job in self.running) > slots

    def _get_newest_background(self) -> Job | None:
        return next(
            (job for job in reversed(self.running) if job.background and not job.ended), None
        )

    def _start(self, job: Job) -> None:
        job.begin()
        self.running[job] = self._start_run(job)


class JobRunner:
    """Runs jobs, with one failover to another engine."""

    def __init__(
        self, engines: Engines, failover_seconds: float, on_move: Callable[[Job, Engine], None]
    ) -> None:
        """`failover_seconds`: time to choose another engine; `on_move(job, engine)`: called when it takes over."""
        self._engines = engines
        self._failover_seconds = failover_seconds
        self._on_move = on_move

    async def run(self, job: Job) -> None:
        """Run a job to its end; all errors go to its observer."""
        try:
            await self._answer(job)
        except asyncio.CancelledError:
            # No effect if the job was already stopped; otherwise the event loop is ending.
            job.stop("draining")
            raise
        except QwenCameraError as error:
            job.fail(error)
        except Exception as exc:  # noqa: BLE001
            # An error of one job must not affect others. Its text is not logged, as it may contain
            # what people said.
            log.error("job failed", extra={"kind": str(job.kind), "error": type(exc).__name__})
            job.fail(Internal("Something went wrong with this answer on the server. Ask again."))

    async def _answer(self, job: Job) -> None:
        """Send a job to the engine of its role, and after a failure to the engine that takes over."""
        engine, spare = self._engines.of(job.role), True
        while True:
            try:
                await job.attempt(engine)
                return
            except EngineError as error:
                log.warning(
                    "engine failed",
                    extra={
                        "request": job.run.request_id,
                        "engine": engine.name,
                        "code": error.code,
                        "reason": error.message,
                    },
                )
                # Loading a model takes longer than the time limit of background work.
                late = job.background and isinstance(error, EngineTimeout)
                if late or not isinstance(error, _ENGINE_FAULTS):
                    raise
                self._engines.report_failure(engine)
                # After text was sent, no other engine may continue the answer.
                if not spare or job.run.first_at is not None or job.ended:
                    raise
                other = await self._get_other_engine(engine, job.role)
                if other is None:
                    raise
            self._on_move(job, other)
            engine, spare = other, False

    async def _get_other_engine(self, failed: Engine, role: Role) -> Engine | None:
        """Return the engine that takes over from a failed engine, or None if there is none in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._failover_seconds):
                await self._engines.wait_probed(failed)
        other = self._engines.of(role)
        return other if other is not failed and other.status.ready else None


class Inference:
    """The queue and its lanes: `submit` and `cancel` jobs, finally `drain` and `close`.

    A job waits in the lane of its role's engine, and moves when another engine takes over the role.
    Roles with the same engine share its lane and all limits.
    """

    def __init__(
        self,
        engines: Engines,
        *,
        max_concurrent: int,
        max_queue: int,
        metrics: Metrics,
        failover_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`max_concurrent` (0: unlimited) and `max_queue`: per engine. `failover_seconds`: time to choose another
        engine after a failure.
        """
        self._engines = engines
        self._max_concurrent = max_concurrent or MOST_AT_ONCE
        self._max_queue = max_queue
        self.metrics = metrics
        self._runner = JobRunner(engines, failover_seconds, self._move)
        self.clock = clock
        # Lanes by engine, for each engine that ever had a role
        self._lanes: dict[Engine, Lane] = {}
        # Lane of each job, until the job has ended and its slot is free
        self._lane_of: dict[Job, Lane] = {}
        self._tasks = TaskSet("inference")
        # True once no new work is accepted
        self.draining = False
        # Running mean of the seconds for which an answer occupies its slot
        self._answer_seconds = _FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Number of slots in use."""
        return sum(len(lane.running) for lane in self._lanes.values())

    @property
    def slots(self) -> int:
        """Maximum concurrent answers to questions now."""
        return self._get_role_lane(Role.ANSWERS).slots

    @property
    def has_questions(self) -> bool:
        """True while any question waits or runs."""
        return any(job.kind is JobKind.CHAT for job in self._list_unfinished())

    @property
    def idle(self) -> bool:
        """True while no job waits or runs."""
        return not self._lane_of

    def free(self, role: Role) -> bool:
        """Return whether no job waits for the engine of a role or runs on it."""
        lane = self._get_role_lane(role)
        return not lane.running and not len(lane.queue)

    def count_waiting(self) -> dict[JobKind, int]:
        """Return the number of waiting jobs by kind."""
        found = dict.fromkeys(JobKind, 0)
        for lane in self._lanes.values():
            for kind, count in lane.queue.count_waiting().items():
                found[kind] += count
        return found

    def submit(self, job: Job) -> None:
        """Accept a job; its observer gets the result.

        Raises Draining, and Busy (with `retry_after`) for a question if the queue is full of
        questions; in these cases the observer is not called. Background work never raises Busy: the
        observer of a refused or evicted job gets `on_failure(Busy)`, and the observer of a job that a
        newer job of its session replaced gets `on_result` with "replaced".
        """
        if self.draining:
            raise Draining(
                "The server is shutting down and accepts no new work. Try again shortly."
            )
        if job in self._lane_of:
            raise ValueError("this job was submitted already")
        job.scheduler, job.submitted = self, self.clock()
        lane = self._get_role_lane(job.role)
        try:
            after = self._push(job, lane)
        except Full:
            self.metrics.inferences.labels(job.kind, "dropped").inc()
            raise self._make_busy_error(lane) from None
        lane.fill()
        # Last, because an observer may submit or cancel in its callback.
        after()

    def cancel(self, job: Job, reason: str) -> None:
        """Stop a job; do nothing if it has ended.

        A waiting job leaves the queue. A running job's task is cancelled, which closes the engine's
        stream and the request. Its observer has received `on_result` when this returns.
        """
        lane = self._lane_of.get(job)
        if lane is not None and not job.ended:
            lane.stop(job, reason)
            lane.fill()

    def cancel_session(self, session_id: str, reason: str, *, questions: bool = True) -> None:
        """Stop all jobs of a session; only background jobs if `questions` is False."""
        # Fill slots only after all jobs are stopped.
        for job in self._list_unfinished():
            if job.session_id == session_id and (questions or job.background) and not job.ended:
                self._lane_of[job].stop(job, reason)
        self._fill()

    def engine_changed(self) -> None:
        """Move waiting jobs to the new engines of their roles, and fill free slots."""
        moved: list[Callable[[], None]] = []
        for job, lane in list(self._lane_of.items()):
            now = self._get_role_lane(job.role)
            if job.slot_at is None and now is not lane:
                lane.queue.remove(job)
                try:
                    moved.append(self._push(job, now))
                except Full:
                    moved.append(partial(job.fail, self._make_busy_error(now), dropped=True))
        self._fill()
        for after in moved:
            after()

    async def drain(self, seconds: float) -> None:
        """Accept no new work, drop background work, and wait at most `seconds` for running questions.

        Then stop running questions, and fail waiting questions with Draining. If this is cancelled,
        `close` does the rest.
        """
        self.draining = True
        for job in self._list_unfinished():
            if job.background:
                self._end_for_drain(job)
        deadline = self.clock() + seconds
        while (tasks := list(self._iterate_running())) and (left := deadline - self.clock()) > 0:
            await asyncio.wait(tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await self.close()

    async def close(self) -> None:
        """Stop all jobs, and wait until the engines have closed their streams.

        Safe to call twice.
        """
        self.draining = True
        for job in self._list_unfinished():
            self._end_for_drain(job)
        if tasks := list(self._iterate_running()):
            # Wait before cancelling again, which would interrupt an engine that closes its stream.
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        await self._tasks.close()
        # Slots are freed by the tasks' done callbacks, which run after the tasks.
        await asyncio.sleep(0)

    def _iterate_running(self) -> Iterator[asyncio.Task[None]]:
        return (task for lane in self._lanes.values() for task in lane.running.values())

    def _list_unfinished(self) -> list[Job]:
        """Return the jobs that wait or run."""
        return [job for job in self._lane_of if not job.ended]

    # Lanes

    def _get_role_lane(self, role: Role) -> Lane:
        return self.get_lane(self._engines.of(role))

    def get_lane(self, engine: Engine) -> Lane:
        """Return the lane of an engine, created at first use."""
        lane = self._lanes.get(engine)
        if lane is None:
            lane = self._lanes[engine] = Lane(
                engine,
                most=self._max_concurrent,
                max_queue=self._max_queue,
                start=self._start,
                asked=lambda: engine in map(self._engines.of, _ASKED),
            )
        return lane

    def _fill(self) -> None:
        for lane in list(self._lanes.values()):
            lane.fill()

    def _push(self, job: Job, lane: Lane) -> Callable[[], None]:
        """Add a job to a lane; return a callback that notifies replaced or evicted jobs. Raises Full."""
        pushed = lane.queue.push(job.session_id, job.kind, job)
        self._lane_of[job] = lane

        def notify() -> None:
            if pushed.replaced is not None:
                pushed.replaced.replace()
            if pushed.evicted is not None:
                pushed.evicted.fail(self._make_busy_error(lane), dropped=True)

        return notify

    def _start(self, job: Job) -> asyncio.Task[None]:
        task = self._tasks.spawn(self._runner.run(job), name=job.kind)
        task.add_done_callback(lambda _: self._on_freed(job))
        return task

    def _move(self, job: Job, engine: Engine) -> None:
        """Move a running job with its slot to the lane of another engine."""
        former, lane = self._lane_of[job], self.get_lane(engine)
        if lane is not former:
            lane.running[job] = former.running.pop(job)
            self._lane_of[job] = lane

    def _on_freed(self, job: Job) -> None:
        lane = self._lane_of.pop(job)
        del lane.running[job]
        # All lanes, because the job may have been moved
        self._fill()

    def on_begun(self, job: Job) -> None:
        if job.background:
            # Another background prompt may begin.
            self._lane_of[job].fill()

    def on_ended(self, job: Job) -> None:
        if job.slot_at is not None and job.result in ("ok", "length"):
            seconds = self.clock() - job.slot_at
            self._answer_seconds += _MEAN_WEIGHT * (seconds - self._answer_seconds)
        if job.slot_at is None:
            self._lane_of.pop(job).queue.remove(job)

    def _end_for_drain(self, job: Job) -> None:
        if job.slot_at is None:
            job.fail(Draining("The server is shutting down. Ask again in a moment."), dropped=True)
        else:
            self._lane_of[job].stop(job, "draining")

    def _make_busy_error(self, lane: Lane) -> Busy:
        waiting = len(lane.queue)
        estimate = self._answer_seconds * (waiting + 1) / lane.slots
        low, high = _RETRY_SECONDS
        return Busy(
            f"The model is busy: {waiting} requests wait already. Try again in a moment.",
            retry_after=round(min(high, max(low, estimate)), 1),
        )

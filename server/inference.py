"""The inference queue: schedules jobs on engines, and stops them.

One per process. Questions go before watches, and watches before descriptions. Sessions take turns.
A session runs at most one question and one background job. A question that finds all slots in use
stops the newest background job. Background work gets fewer slots while questions wait longer than
usual for their first token. All methods are called on the event loop.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from server.core.aio import TaskSet
from server.core.errors import Busy, Draining
from server.core.frames import Kind
from server.core.metrics import Metrics
from server.models.scheduler.fairness import (
    BACKGROUND,
    MOST_AT_ONCE,
    BackgroundShare,
    EngineShare,
    FairQueue,
    Full,
)
from server.models.scheduler.job import CLOSE_SECONDS, Engines, Failover, Job, JobRun

# Watches in a row while descriptions wait
_MOST_WATCHES = 2
# Weight of the newest answer in the running mean for `retry_after`, and the mean's initial value.
_MEAN_WEIGHT = 0.2
_FIRST_GUESS_SECONDS = 1.0
_RETRY_SECONDS = (0.5, 60.0)


class Inference:
    """Runs jobs: `submit` and `cancel`, finally `drain` and `close`.

    The number of slots is the smaller of `max_concurrent` (0: no limit of ours) and the current engine's own limit, read
    each time; with an engine that states none, this process's share of it (`engine_share.py`). A slot is
    freed only when the engine has closed the stream, so that a model server never gets more requests. (Jobs that fall back together keep their slots, so an engine with a
    lower limit may briefly get more.)
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
        if max_concurrent < 0:
            raise ValueError(f"max_concurrent is {max_concurrent}; it must be at least 0")
        self._engines = engines
        self._max_concurrent = max_concurrent or MOST_AT_ONCE
        self._metrics = metrics
        self._failover = Failover(engines, settle_seconds)
        self._clock = clock
        self._queue: FairQueue[JobRun] = FairQueue(max_queue)
        # Jobs that have not ended, waiting or running.
        self._runs: dict[Job, JobRun] = {}
        # Runs with a slot, oldest first: running, or ended and closing their stream.
        self._slots: dict[JobRun, asyncio.Task[None]] = {}
        # (session, background?) of the running jobs.
        self._active: set[tuple[str, bool]] = set()
        self._share = BackgroundShare()
        self._engine_share = EngineShare(self._max_concurrent)
        # Watches since the last job of a less urgent kind
        self._watches_before = 0
        # Fills the slots when background work may go on; None while nothing waits for that
        self._rest: asyncio.TimerHandle | None = None
        self._tasks = TaskSet("inference")
        self._draining = False
        # Running mean of the time that an answer holds its slot, seconds.
        self._answer_seconds = _FIRST_GUESS_SECONDS

    @property
    def running(self) -> int:
        """Number of slots in use."""
        return len(self._slots)

    @property
    def slots(self) -> int:
        """Number of answers that may run at once now."""
        stated = self._engines.current.status.capabilities.max_concurrency
        if stated is None:
            return self._engine_share.slots(self._clock())
        return max(1, min(self._max_concurrent, stated))

    @property
    def draining(self) -> bool:
        """True when no new work is accepted."""
        return self._draining

    @property
    def has_questions(self) -> bool:
        """True while a question of anybody waits or runs."""
        return any(job.kind is Kind.CHAT for job in self._runs)

    def depth(self) -> dict[Kind, int]:
        """Number of waiting jobs of each kind."""
        return self._queue.depth()

    def submit(self, job: Job) -> None:
        """Accept a job; its sink gets the result.

        Raises Draining, and Busy (with `retry_after`) for a question when the queue is full of
        questions; the sink is then not called. Background work never raises Busy: the sink of a
        refused or evicted job gets `failed(Busy)`, and of one replaced by a newer job of its
        session `finished` with "replaced".
        """
        if self._draining:
            raise Draining("The server is shutting down and takes no new work. Try again shortly.")
        if job in self._runs:
            raise ValueError("this job was submitted already")
        run = JobRun(job, self._metrics, self._clock, self._ended, self._clock())
        if job.background:
            run.on_begun = self._begun
        try:
            pushed = self._queue.push(job.session_id, job.kind, run)
        except Full:
            self._metrics.inferences.labels(job.kind, "dropped").inc()
            raise self._busy() from None
        self._runs[job] = run
        self._fill()
        # Last, because a sink may submit or cancel in its callback.
        if pushed.replaced is not None:
            pushed.replaced.replace()
        if pushed.evicted is not None:
            pushed.evicted.fail(self._busy(), dropped=True)

    def cancel(self, job: Job, reason: str) -> None:
        """Stop a job; does nothing when it has ended.

        A waiting job leaves the queue. A running job's task is cancelled, which closes the engine's
        stream and with it the request. Its sink has got `finished` when this returns.
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

    @property
    def background_share(self) -> float:
        """The share of the slots that background work may have now, 1/32 to 1."""
        return self._share.share(self._clock())

    def engine_busy(self) -> None:
        """Note that the model server refused a request since it has enough to do."""
        self._engine_share.refused(self._clock())

    def engine_changed(self) -> None:
        """Fill the slots that a new engine may have added."""
        self._fill()

    async def drain(self, seconds: float) -> None:
        """Accept no new work, drop background work, and wait at most `seconds` for the questions.

        Then running ones are stopped, and waiting ones fail with Draining. When cancelled, `close`
        does the rest.
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
        """Stop all jobs, and wait until the engines have closed their streams.

        Safe to call twice.
        """
        self._draining = True
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        for run in list(self._runs.values()):
            self._let_go(run)
        if self._slots:
            # Do not cancel a second time at once, which would interrupt an engine that closes its
            # stream.
            await asyncio.wait(self._slots.values(), timeout=CLOSE_SECONDS)
        await self._tasks.close()
        # Slots are freed by the tasks' done callbacks, which run after the tasks.
        await asyncio.sleep(0)

    # Scheduling

    def _held_back(self, session_id: str, kind: Kind) -> bool:
        return (session_id, kind in BACKGROUND) in self._active

    def _fill(self) -> None:
        """Start waiting jobs; then, while questions lack a slot, stop background jobs."""
        slots = self.slots
        while len(self._slots) < slots:
            run = self._queue.pop((Kind.CHAT,), self._held_back) or self._next_background(slots)
            if run is None:
                return
            self._start(run)
        while (newest := self._newest_background()) is not None and self._short_of(slots):
            self._stop(newest, "preempted")

    def _next_background(self, slots: int) -> JobRun | None:
        """Take the next background job, when the engine has room for it.

        One prompt at a time, and one slot stays free: a new question waits for at most one prompt, and
        seldom for that while people ask. Each third job is of a less urgent kind than watches, if
        there is one, so that none starves.
        """
        background = [run for run in self._slots if run.job.background]
        if slots > 1 and len(self._slots) == slots - 1:
            return None
        if any(run.begun_at is None and not run.ended for run in background):
            return None
        now = self._clock()
        wait = self._share.wait(len(background), slots, now)
        if wait == 0:
            wait = self._share.prompt_wait(now)
            run = self._pop_background(ahead_only=wait > 0)
            if run is not None:
                return run
        if (
            0 < wait < math.inf
            and self._rest is None
            and any(map(self._queue.depth().get, BACKGROUND))
        ):
            self._rest = asyncio.get_running_loop().call_later(wait, self._rested)
        return None

    def _pop_background(self, *, ahead_only: bool) -> JobRun | None:
        """`ahead_only`: a picture sent ahead of a question is a part of that question's own prompt."""
        if ahead_only:
            return self._queue.pop((Kind.PREFILL,), self._held_back)
        run = None
        if self._watches_before >= _MOST_WATCHES:
            run = self._queue.pop(BACKGROUND[1:], self._held_back)
        run = run or self._queue.pop(BACKGROUND, self._held_back)
        if run is not None:
            watch = run.job.kind is Kind.WATCH
            self._watches_before = self._watches_before + 1 if watch else 0
        return run

    def _begun(self, run: JobRun) -> None:
        """Note that a background prompt was read; another one may begin."""
        ahead = run.job.kind is Kind.PREFILL
        if not ahead and run.asked_at is not None and run.begun_at is not None:
            self._share.begun(run.begun_at - run.asked_at, run.begun_at)
        self._fill()

    def _rested(self) -> None:
        self._rest = None
        self._fill()

    def _short_of(self, slots: int) -> bool:
        """Return True when more questions wait than slots are about to be freed."""
        ready = self._queue.ready_sessions(Kind.CHAT, self._held_back)
        return ready > 0 and ready + sum(not run.ended for run in self._slots) > slots

    def _newest_background(self) -> JobRun | None:
        return next(
            (run for run in reversed(self._slots) if run.job.background and not run.ended), None
        )

    def _start(self, run: JobRun) -> None:
        job = run.job
        self._active.add((job.session_id, job.background))
        run.begin()
        run.before = sum(one.begun_at is None and not one.ended for one in self._slots)
        task = self._tasks.spawn(self._failover.work(run), name=job.kind)
        self._slots[run] = task
        task.add_done_callback(lambda _: self._freed(run))

    def _freed(self, run: JobRun) -> None:
        del self._slots[run]
        self._fill()

    def _ended(self, run: JobRun) -> None:
        """Update the books after a job's end; its task frees the slot later."""
        job = run.job
        self._runs.pop(job, None)
        if run.slot_at is None:
            self._queue.remove(run)
            return
        self._active.discard((job.session_id, job.background))
        now = self._clock()
        if job.background:
            self._share.ended(now - run.slot_at, now)
        if run.result in ("ok", "length"):
            self._answer_seconds += _MEAN_WEIGHT * (now - run.slot_at - self._answer_seconds)
            if job.kind is Kind.CHAT and run.asked_at is not None and run.begun_at is not None:
                seconds = run.begun_at - run.asked_at
                self._share.answered(run.cost_class, seconds, now, job.session_id)
                engine = run.engine
                if engine is not None and engine.status.capabilities.max_concurrency is None:
                    self._engine_share.answered(
                        run.cost_class,
                        seconds,
                        before=run.before,
                        asked_at=run.asked_at,
                        now=now,
                        session=job.session_id,
                    )

    def _stop(self, run: JobRun, reason: str) -> None:
        run.stop(reason)
        task = self._slots.get(run)
        # A sink may cancel its own job in its callback: the task then notices that the run has
        # ended, and closes the stream without being cancelled.
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _cancel_where(self, chosen: Callable[[Job], bool], reason: str) -> None:
        # Slots are filled only after all are stopped.
        for run in [run for job, run in self._runs.items() if chosen(job)]:
            self._stop(run, reason)
        self._fill()

    def _let_go(self, run: JobRun) -> None:
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

"""Asyncio tools: task sets, supervised loops, timers, deadlines, broadcasts, thread pools, token buckets."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

from server.core.logs import get_location

log = logging.getLogger(__name__)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Failed steps of each supervised loop since the start of the process, by its name; for /metrics
loop_failures: Counter[str] = Counter()


class TaskSet:
    """A set of tasks. It keeps references to them, and logs the type of an exception that ends one.

    `close` cancels the running tasks and waits for them. It may be called twice.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, coro: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        if self._closed:
            coro.close()
            raise RuntimeError(f"the task set {self._name} is closed")
        task = asyncio.create_task(coro, name=f"{self._name}/{name}")
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log_failure(task.get_name().partition("/")[2], exc, "task died")

    async def close(self) -> None:
        self._closed = True
        await cancel_and_wait(self._tasks)


def log_failure(name: str, exc: BaseException, message: str = "failed, and goes on") -> None:
    """Log an exception's type and location, without its text, which may quote users."""
    log.error(
        message,
        extra={"task": name, "error": type(exc).__name__, "at": get_location(exc.__traceback__)},
    )


async def supervise(
    step: Callable[[], Awaitable[float]], *, name: str, after_failure: float = 5.0
) -> None:
    """Repeat until cancelled: await `step()`, then sleep for the seconds that it returned.

    A step that fails is logged, counted in `loop_failures`, and repeated after `after_failure`
    seconds.
    """
    loop_failures[name] += 0
    while True:
        try:
            pause = await step()
        except Exception as exc:  # noqa: BLE001
            loop_failures[name] += 1
            log_failure(name, exc)
            pause = after_failure
        await asyncio.sleep(pause)


def listen(listeners: list[T], listener: T, wanted: bool) -> None:
    """Add the listener once if `wanted` is true; else remove it."""
    if (listener in listeners) is not wanted:
        (listeners.append if wanted else listeners.remove)(listener)


def make_async(call: Callable[[], object]) -> Callable[[], Awaitable[None]]:
    """Wrap a plain function in a coroutine function."""

    async def run() -> None:
        call()

    return run


class Deadline:
    """A point in time shared by all steps of one operation."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self, most: float = math.inf) -> float:
        """Return the remaining seconds, from 0 to `most`."""
        return max(0.0, min(most, self._end - time.monotonic()))


async def close_all(
    parts: list[tuple[str, Callable[[], Awaitable[Any]]]], deadline: Deadline
) -> bool:
    """Remove the parts from the list and close them in reverse order. Return True if all succeeded in time.

    A close that raises is logged, and one that does not end in time is abandoned; the others are
    closed in any case. Each may take half of the remaining time, the last one all of it.
    """
    well = True
    while parts:
        name, close = parts.pop()
        task, left = asyncio.ensure_future(close()), deadline.left()
        done, _ = await asyncio.wait([task], timeout=max(0.1, left / 2 if parts else left))
        if not done:
            well = False
            task.cancel()
            log.error("close timed out", extra={"task": name})
        elif not task.cancelled() and (exc := task.exception()) is not None:
            well = False
            log_failure(name, exc, "closing failed")
    return well


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks, except the current one, and wait for them to end.

    They are also cancelled if the caller is cancelled.
    """
    current = asyncio.current_task()
    waiting = [task for task in tasks if task is not current and not task.done()]
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)


class Timer:
    """One delayed call on the event loop; true while it is pending."""

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return self._handle is not None

    def set(self, seconds: float, call: Callable[..., object], *args: Any) -> None:
        """Call `call(*args)` after `seconds`, in place of the pending call."""
        self.cancel()
        self._handle = asyncio.get_running_loop().call_later(seconds, self._run_due, call, args)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run_due(self, call: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._handle = None
        call(*args)


class Broadcast:
    """A wake-up for all current waiters; a later waiter waits for the next one."""

    def __init__(self) -> None:
        # None if there are no waiters
        self._next: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def wait(self, deadline: float) -> bool:
        """Wait for the next wake-up. Return True, or False at the deadline (event loop's clock).

        Safe to cancel.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                # Waiters share the future: cancelling one must not cancel it for the others.
                await asyncio.shield(self._next)
                return True
        return False


async def watch_lag(observe: Callable[[float], object], interval: float = 1.0) -> None:
    """Pass the event loop's lag in seconds to `observe` every `interval` seconds, until cancelled."""
    clock = asyncio.get_running_loop().time

    due = clock() + interval

    async def step() -> float:
        nonlocal due
        now = clock()
        late, due = max(0.0, now - due), now + interval
        observe(late)
        return interval

    await asyncio.sleep(interval)
    await supervise(step, name="loop_lag", after_failure=interval)


class Pools:
    """The process's thread pools, and those added by features.

    `decode` decodes video frames, `prepare` prepares the pictures of questions, and `heavy` recognises
    text and faces.
    """

    def __init__(self) -> None:
        self._all: list[ThreadPoolExecutor] = []
        self.decode, self.prepare = self.add("decode", 2), self.add("prepare", 2)
        self.heavy = self.add("heavy")

    def add(self, name: str, threads: int = 1) -> ThreadPoolExecutor:
        """Create a pool that is closed with the others. `name` is the prefix of its threads."""
        self._all.append(pool := ThreadPoolExecutor(threads, name))
        return pool

    def close(self, patience: float | None = None) -> bool:
        """Drop waiting work, and wait at most `patience` seconds for running work.

        Return True if all work ended.
        """

        def end() -> None:
            for pool in self._all:
                pool.shutdown(wait=True, cancel_futures=True)

        waiting = threading.Thread(target=end, name="pools", daemon=True)
        waiting.start()
        waiting.join(patience)
        return not waiting.is_alive()


# In a thread of `run_in_pool`: `cancelled`, the event of the work running there
_work = threading.local()


def is_cancelled() -> bool:
    """Return True if the caller of this `run_in_pool` work was cancelled. Long work checks it between steps."""
    cancelled: threading.Event | None = getattr(_work, "cancelled", None)
    return cancelled is not None and cancelled.is_set()


async def run_in_pool(pool: ThreadPoolExecutor, work: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run `work(*args)` in a thread of the pool.

    On cancellation, waiting work is dropped; in running work `is_cancelled` returns True, and its result is ignored.
    Raises RuntimeError in place of a StopIteration, which a future cannot hold: its awaiter would never wake.
    """
    cancelled = threading.Event()

    def run() -> T:
        _work.cancelled = cancelled
        try:
            return work(*args)
        except StopIteration as error:
            raise RuntimeError("work in a thread ended with StopIteration") from error

    try:
        return await asyncio.get_running_loop().run_in_executor(pool, run)
    except asyncio.CancelledError:
        cancelled.set()
        raise


class Bucket:
    """A token bucket: `rate` events a second over time, `burst` at once. `now`: seconds of any monotonic clock."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._left = float(burst)
        self._at = now
        # Refused events
        self.refused = 0

    def wait(self, now: float, least: float = 0.0) -> float:
        """Return the seconds until `least` tokens are available."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, least - self._left) / self._rate

    def ready(self, now: float) -> bool:
        """Return True if an event is allowed now, without counting one."""
        return not self.wait(now, 1)

    def take(self, now: float) -> bool:
        if not self.ready(now):
            self.refused += 1
            return False
        self.spend(1)
        return True

    def spend(self, amount: float) -> None:
        """Count an amount known only afterwards. Later events wait until it is refilled."""
        self._left -= amount


def take_all(buckets: Iterable[Bucket], now: float) -> bool:
    """Count an event in every bucket, or in none if one of them refuses it."""
    some = tuple(buckets)
    return all(one.ready(now) for one in some) and all(one.take(now) for one in some)

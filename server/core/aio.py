"""Small asyncio tools: keeping tasks, ending tasks, waking who waits, leaving the event loop for a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


class TaskSet:
    """Keeps the tasks it starts until they end, and logs the type of what one of them dies of.

    Closing cancels what still runs and waits for it. Safe to close twice.
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
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            log_failure(task.get_name().partition("/")[2], exc, "task died")

    async def close(self) -> None:
        self._closed = True
        await cancel_and_wait(self._tasks)


def log_failure(name: str, exc: BaseException, message: str = "failed, and goes on") -> None:
    """One line with the type of an exception and its place, without its text: that may hold what people said."""
    where = traceback.extract_tb(exc.__traceback__)[-1:]
    log.error(
        message,
        extra={
            "task": name,
            "error": type(exc).__name__,
            "at": f"{where[0].name}:{where[0].lineno}" if where else "",
        },
    )


async def keep_going(
    step: Callable[[], Awaitable[float]], *, name: str, after_failure: float = 5.0
) -> None:
    """Until cancelled: await `step()`, then sleep for the seconds that it returns.

    A step that fails is logged, and comes again `after_failure` seconds later: a fault of one round ends no watching.
    """
    while True:
        try:
            pause = await step()
        except Exception as exc:  # noqa: BLE001
            log_failure(name, exc)
            pause = after_failure
        await asyncio.sleep(pause)


async def close_all(
    closing: Sequence[tuple[str, Callable[[], Awaitable[object]]]], seconds: float
) -> bool:
    """Close one after the other, in `seconds` together; whether all have ended well.

    One that fails is logged, and one that does not end is left behind: neither keeps the others from being closed. Each
    may take half of the time that is left, the last one all of it.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    well = True
    for name, close in closing:
        task = asyncio.ensure_future(close())
        part = deadline - loop.time()
        if close is not closing[-1][1]:
            part /= 2
        done, _ = await asyncio.wait([task], timeout=max(0.1, part))
        if not done:
            well = False
            task.cancel()
            log.error("does not close", extra={"task": name})
        elif not task.cancelled() and (exc := task.exception()) is not None:
            well = False
            log_failure(name, exc, "closing failed")
    return well


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel and await the end. The current task is left alone. Cancelling the caller still cancels all of them."""
    current = asyncio.current_task()
    waiting = [task for task in tasks if task is not current and not task.done()]
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)


class Pulse:
    """Wakes all who wait now; whoever comes later waits for the next one."""

    def __init__(self) -> None:
        # None while nobody waits.
        self._next: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self._next is not None and not self._next.done():
            self._next.set_result(None)
        self._next = None

    async def wait(self, deadline: float) -> bool:
        """True when it came, False at the deadline (by the event loop's clock). Safe to cancel."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                # Several may wait for the same one; a cancelled one must not take it from the others.
                await asyncio.shield(self._next)
                return True
        return False


async def watch_lag(observe: Callable[[float], object], interval: float = 1.0) -> None:
    """Until cancelled: sleep `interval` seconds, and tell `observe` how many seconds late the event loop woke it."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + interval
        await asyncio.sleep(interval)
        observe(max(0.0, clock() - due))


class Lookups(ThreadPoolExecutor):
    """The threads in which asyncio looks names up, in place of its default executor: nothing that stops waits for them.

    A name server that does not answer holds a thread for minutes.
    """

    def __init__(self, most: int = 8) -> None:
        super().__init__(most, "lookup")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait=False, cancel_futures=True)

    def end(self, patience: float) -> bool:
        """Shut down, and wait for what runs, `patience` seconds at most; whether all ended."""
        self.shutdown()
        deadline = time.monotonic() + patience
        threads = [one for one in threading.enumerate() if one.name.startswith("lookup_")]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


class Pools:
    """The threads of the process, all of them bounded.

    `decode` for video frames, `prepare` for pictures somebody waits for, `heavy` for text, faces and the like, `manage` for
    looking at the machine and its models, which may take minutes, `measure` for the memory that models take.
    """

    def __init__(
        self, *, decode: int = 2, prepare: int = 2, heavy: int = 1, manage: int = 2
    ) -> None:
        self.decode = ThreadPoolExecutor(decode, "decode")
        self.prepare = ThreadPoolExecutor(prepare, "prepare")
        self.heavy = ThreadPoolExecutor(heavy, "heavy")
        self.manage = ThreadPoolExecutor(manage, "manage")
        self.measure = ThreadPoolExecutor(1, "measure")

    def close(self, patience: float | None = None) -> bool:
        """Drop what waits, and wait for what runs, which nothing can stop: `patience` seconds at most. Whether all ended."""

        def end() -> None:
            pools = (self.decode, self.prepare, self.heavy, self.manage, self.measure)
            for pool in pools:
                pool.shutdown(wait=True, cancel_futures=True)

        waiting = threading.Thread(target=end, name="pools", daemon=True)
        waiting.start()
        waiting.join(patience)
        return not waiting.is_alive()


async def in_pool(pool: ThreadPoolExecutor, work: Callable[..., T], *args: Any) -> T:
    """Run `work(*args)` in a thread. When cancelled, work that has not begun is dropped; running work ends unheard."""
    return await asyncio.get_running_loop().run_in_executor(pool, work, *args)

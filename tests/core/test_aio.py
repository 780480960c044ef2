"""Keeping tasks, ending tasks, leaving the event loop for a thread."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from server.core import aio
from server.core.aio import (
    Broadcast,
    Bucket,
    Deadline,
    Pools,
    TaskSet,
    Timer,
    cancel_and_wait,
    close_all,
    make_async,
    run_in_pool,
    supervise,
    take_all,
    watch_lag,
)


async def forever() -> None:
    await asyncio.Event().wait()


async def test_tasks_are_kept_until_they_end() -> None:
    """A task is named after its set, counted while it runs, and let go afterwards."""
    tasks = TaskSet("set")
    done = asyncio.Event()
    task = tasks.spawn(done.wait(), name="one")
    assert len(tasks) == 1
    assert task.get_name() == "set/one"
    done.set()
    assert await task is True
    await asyncio.sleep(0)
    assert len(tasks) == 0


async def test_close_cancels_and_waits() -> None:
    """Nothing runs after `close`, cleaning up included, nor starts; closing again is fine."""
    tasks = TaskSet("set")
    cleaned = []

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.append(1)

    tasks.spawn(work(), name="a")
    tasks.spawn(work(), name="b")
    await asyncio.sleep(0)
    await tasks.close()
    await tasks.close()
    assert cleaned == [1, 1]
    with pytest.raises(RuntimeError, match="closed"):
        tasks.spawn(forever(), name="late")


async def test_a_task_may_close_its_own_set() -> None:
    """It does not wait for itself."""
    tasks = TaskSet("set")
    task = tasks.spawn(tasks.close(), name="self")
    await asyncio.wait_for(task, 1)


async def test_what_a_task_dies_of_is_logged_by_type(caplog: pytest.LogCaptureFixture) -> None:
    """The type and the place, never the text: it may hold what people said."""
    tasks = TaskSet("set")

    async def dies() -> None:
        raise ValueError("secret words")

    with caplog.at_level(logging.ERROR):
        tasks.spawn(dies(), name="one")
        await asyncio.sleep(0.01)
    (record,) = caplog.records
    assert record.__dict__["error"] == "ValueError"
    assert record.__dict__["task"] == "one"
    assert record.__dict__["at"].startswith("dies:")
    assert "secret" not in caplog.text
    await tasks.close()


async def test_cancel_and_wait_steps_over_the_done_ones() -> None:
    """Done tasks and none at all are fine."""
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    running = asyncio.create_task(forever())
    await cancel_and_wait([done, running])
    assert running.cancelled()
    await cancel_and_wait([])


async def test_in_pool() -> None:
    """Results and exceptions come back from a thread of the named pool."""
    # Other tests' servers may be there.
    before = set(threading.enumerate())
    pools = Pools()
    name = await run_in_pool(pools.prepare, lambda: threading.current_thread().name)
    assert name.startswith("prepare")
    with pytest.raises(ZeroDivisionError):
        await run_in_pool(pools.heavy, lambda: 1 // 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(run_in_pool(pools.heavy, next, iter(())), 5)
    assert await run_in_pool(pools.decode, max, 1, 2) == 2
    pools.close()
    assert set(threading.enumerate()) <= before


async def test_cancelled_work_that_has_not_begun_is_dropped() -> None:
    """Nobody waits for it, so no thread does it."""
    pools = Pools()
    begun, gate = threading.Event(), threading.Event()
    ran: list[int] = []

    def blocking() -> None:
        begun.set()
        gate.wait(5)

    first = asyncio.create_task(run_in_pool(pools.heavy, blocking))
    second = asyncio.create_task(run_in_pool(pools.heavy, ran.append, 1))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.set()
    await first
    pools.close()
    assert ran == []


def test_closing_waits_for_threads_as_long_as_it_is_told() -> None:
    """The result says if all have ended; waiting work is dropped either way."""
    pools = Pools()
    go_on = threading.Event()
    running = pools.heavy.submit(go_on.wait, 10)
    waiting = pools.heavy.submit(int)
    assert pools.close(0.05) is False
    assert waiting.cancelled()
    assert not running.done()
    go_on.set()
    assert pools.close() is True
    assert running.done()


async def test_a_blocked_event_loop_is_noticed() -> None:
    """A blocked loop shows a lag of about that time, and next to none otherwise."""
    seen: list[float] = []
    tasks = TaskSet("set")
    tasks.spawn(watch_lag(seen.append, interval=0.005), name="lag")
    async with asyncio.timeout(5):
        while len(seen) < 3:
            await asyncio.sleep(0.001)
        calm = min(seen)
        seen.clear()
        time.sleep(0.1)
        while not seen:
            await asyncio.sleep(0.001)
    await tasks.close()
    assert calm < 0.05
    assert 0.09 < seen[0] < 5


async def test_a_pulse_wakes_who_waits_now() -> None:
    """All who wait are woken; a cancelled one takes it from nobody, and a past one wakes nobody."""
    pulse, loop = Broadcast(), asyncio.get_running_loop()
    pulse.wake()
    assert not await pulse.wait(loop.time() + 0.01)
    waiting = [asyncio.create_task(pulse.wait(loop.time() + 5)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0)
    pulse.wake()
    assert await asyncio.gather(*waiting[1:]) == [True, True]
    assert not await pulse.wait(loop.time() - 1)


async def test_a_timer_calls_once_what_was_set_last() -> None:
    """It is true until then, or until it is cancelled; its call may set it again."""
    timer, called = Timer(), list[str]()
    timer.cancel()
    timer.set(0, called.append, "replaced")
    timer.set(0, lambda: timer.set(0, called.append, "again"))
    assert timer
    while timer:
        await asyncio.sleep(0.001)
    assert called == ["again"]
    timer.set(0, called.append, "cancelled")
    timer.cancel()
    assert not timer
    await asyncio.sleep(0.01)
    assert called == ["again"]


async def test_a_step_that_fails_is_not_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An endless loop continues after an error, which is counted, and logged without its text."""
    failures: Counter[str] = Counter()
    monkeypatch.setattr(aio, "loop_failures", failures)
    steps: list[int] = []

    async def step() -> float:
        steps.append(len(steps))
        if len(steps) == 2:
            raise RuntimeError("secret words")
        return 0.0

    task = asyncio.create_task(supervise(step, name="looking", after_failure=0.01))
    async with asyncio.timeout(5):
        while len(steps) < 4:
            await asyncio.sleep(0.001)
    await cancel_and_wait([task])
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "secret words" not in caplog.text
    assert failures == {"looking": 1}


async def test_parts_are_closed_in_the_opposite_order_whatever_one_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that fails and one that hangs keep no other one open, nor longer than they may."""
    closed: list[str] = []
    let_go = asyncio.Event()

    def well(name: str) -> Callable[[], Awaitable[None]]:
        return make_async(lambda: closed.append(name))

    async def fails() -> None:
        raise RuntimeError("secret words")

    async def hangs() -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    parts = [("first", well("first")), ("last", well("last"))]
    async with asyncio.timeout(5):
        assert await close_all(parts, Deadline(1.0))
        assert closed == ["last", "first"]
        # Once is enough.
        assert await close_all(parts, Deadline(1.0))
        closed.clear()
        parts += [("a", well("a")), ("b", fails), ("c", hangs), ("d", well("d"))]
        assert not await close_all(parts, Deadline(0.2))
    assert closed == ["d", "a"]
    assert "secret words" not in caplog.text
    let_go.set()
    await asyncio.sleep(0)


async def test_a_part_is_closed_when_the_time_is_over() -> None:
    """It has a moment even then, so that what needs no time is done."""
    closed: list[str] = []
    parts = [("late", make_async(lambda: closed.append("late")))]
    assert await close_all(parts, Deadline(0.0))
    assert closed == ["late"]


def test_a_deadline_is_shared() -> None:
    """It gives the time that is left, and no more than was asked for."""
    deadline = Deadline(60.0)
    assert 50 < deadline.left() <= 60
    assert deadline.left(2.0) == 2.0
    assert Deadline(-1.0).left() == 0.0


def test_bucket_refills_with_time() -> None:
    """A burst at once, then a message for each 1/rate seconds; the level never passes the burst."""
    bucket = Bucket(rate=10, burst=3, now=0.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.1)
    assert not bucket.take(0.15)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.refused == 3


def test_one_that_refuses_costs_the_others_nothing() -> None:
    own, shared = Bucket(rate=1, burst=2, now=0.0), Bucket(rate=1, burst=1, now=0.0)
    assert take_all((own, shared), 0.0)
    assert not any(take_all((own, shared), 0.0) for _ in range(9))
    assert own.ready(0.0)
    assert own.take(0.0)
    assert not take_all((shared, own), 0.0)

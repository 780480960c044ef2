"""A model's worker, with small programs in place of a model: loading, jobs, their ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from server.shared.processes import worker_process
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import Message
from server.shared.processes.worker_process import Job, ModelWorker, NotLoaded, WorkerEnded
from tests.support.clients import soon

BEGIN = """
import sys, time
from server.shared.processes.wire import Channel, Jobs, claim_input, claim_output
channel = claim_output()
jobs = Jobs(channel, "work", busy={"code": "busy"})
channel.send("loading", phase="weights")
"""
WORKS = """
jobs.listen(claim_input())
channel.send("ready", rate=5)
while True:
    message, stop = jobs.next()
    id, what = message.header["id"], message.header["what"]
    print("asked for", what, file=sys.stderr, flush=True)
    if what == "dies":
        sys.exit(7)
    if what == "fails":
        jobs.ended(id, "error", message="no")
        continue
    if what == "goes on":
        channel.send("piece", id=id)
        stop.wait()
    elif what == "floods":
        while not stop.is_set():
            channel.send("piece", bytes(4096), id=id)
    else:
        channel.send("piece", message.payload, id=id)
    jobs.ended(id, "end", stopped=stop.is_set())
"""


def worker(code: str, heard: list[str] | None = None) -> ModelWorker:
    heard = [] if heard is None else heard
    return ModelWorker(
        (sys.executable, "-c", BEGIN + code),
        {},
        on_message=lambda message: heard.append(message.type),
        on_line=heard.append,
        on_exit=lambda: heard.append("exit"),
    )


@asynccontextmanager
async def loaded(heard: list[str] | None = None) -> AsyncIterator[ModelWorker]:
    one = worker(WORKS, heard)
    try:
        assert (await one.load(60))["rate"] == 5
        yield one
    finally:
        await one.stop()


async def rest(job: Job) -> list[Message | None]:
    """Its messages up to the last."""
    found: list[Message | None] = []
    due = asyncio.get_running_loop().time() + 30
    while True:
        found.append(message := await job.next(due))
        if message is None or message.type in ("end", "error"):
            return found


async def test_a_job_has_its_messages_and_an_end() -> None:
    """A job gets its own messages back; another one's messages are not among them."""
    heard: list[str] = []
    async with loaded(heard) as one:
        jobs = [one.begin({"type": "work", "what": what}, what.encode()) for what in ("a", "b")]
        assert one.busy
        for job, payload in zip(jobs, (b"a", b"b"), strict=True):
            piece, end = await rest(job)
            assert piece is not None
            assert end is not None
            assert (piece.payload, end.header["stopped"]) == (payload, False)
        (error,) = await rest(one.begin({"type": "work", "what": "fails"}))
        assert error is not None
        assert error.header["message"] == "no"
        assert not one.busy
        assert one.memory_bytes()
        # Its log might quote what was asked.
        await soon(lambda: one.process.withheld == 3)
    assert heard == ["loading", "exit"]
    assert (one.status, one.pid, one.ended.is_set()) == (0, None, True)


async def test_a_cancelled_job_is_not_read_any_more() -> None:
    """Its worker hears of it; the next one is begun once it has ended."""
    async with loaded() as one:
        job = one.begin({"type": "work", "what": "goes on"})
        due = asyncio.get_running_loop().time() + 30
        piece = await job.next(due)
        assert piece is not None
        with pytest.raises(TimeoutError):
            await job.next(asyncio.get_running_loop().time() + 0.05)
        job.cancel()
        after = one.begin({"type": "work", "what": "a"})
        assert one.busy
        assert len(await rest(after)) == 2
        assert job.ended.is_set()
        job.cancel()


async def test_more_than_can_wait_ends_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages that came are read, then an error says why; the worker goes on with the next one."""
    monkeypatch.setattr(worker_process, "MOST_WAITING_BYTES", 64 * 1024)
    async with loaded() as one:
        job = one.begin({"type": "work", "what": "floods"})
        await job.ended.wait()
        *pieces, error = await rest(job)
        assert 10 < len(pieces) <= 16
        assert error is not None
        assert error.header["code"] == "too_much"
        assert len(await rest(one.begin({"type": "work", "what": "a"}))) == 2


async def test_the_end_of_the_process_ends_its_jobs() -> None:
    """Those that were begun, and one that is asked for afterwards."""
    async with loaded() as one:
        jobs = [one.begin({"type": "work", "what": what}) for what in ("dies", "a")]
        for job in jobs:
            assert await rest(job) == [None]
        await one.ended.wait()
        assert (one.status, one.busy) == (7, False)
        assert await rest(one.begin({"type": "work", "what": "a"})) == [None]


async def test_what_is_asked_for_early_waits_until_it_is_loaded() -> None:
    one = worker(WORKS)
    try:
        job = one.begin({"type": "work", "what": "a"}, b"early")
        await one.load(60)
        piece, _ = await rest(job)
        assert piece is not None
        assert piece.payload == b"early"
    finally:
        await one.stop()


@pytest.mark.parametrize(
    ("code", "seconds", "error", "words"),
    [
        ('channel.send("failed", message="No such model.")', 60.0, NotLoaded, "No such model."),
        ("sys.exit(3)", 60.0, WorkerEnded, None),
        ("time.sleep(60)", 0.5, TimeoutError, None),
    ],
)
async def test_one_that_is_not_loaded(
    code: str, seconds: float, error: type[Exception], words: str | None
) -> None:
    """Why: its own sentence, its end, the time."""
    one = worker(code)
    try:
        with pytest.raises(error, match=words):
            await one.load(seconds)
    finally:
        await one.stop()


async def test_a_program_that_is_not_there() -> None:
    """Jobs that were asked for before end with it."""
    one = ModelWorker(("/nowhere/python",), {})
    job = one.begin({"type": "work"})
    with pytest.raises(ProcessFailed, match="is not there"):
        await one.load(60)
    assert await rest(job) == [None]
    assert one.ended.is_set()
    await one.stop()

"""A worker's process: its environment, its frames and log lines, its end."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.shared.processes import worker_process
from server.shared.processes.environment import make_child_environment
from server.shared.processes.process import LONGEST_LINE, ProcessFailed
from server.shared.processes.wire import WorkerMessage
from server.shared.processes.worker_process import (
    ModelWorker,
    NotLoaded,
    WorkerEnded,
    WorkerJob,
    WorkerProcess,
    make_environment,
)
from tests.support.children import alive, wait_until_gone
from tests.support.clients import soon

ROOT = Path(__file__).parents[3]


def test_the_environment_of_a_worker_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets what finds programs, libraries and GPUs, by the filter that all children have."""
    secrets = ("JWT_SECRET_KEY", "VLLM_API_KEY", "HF_TOKEN", "NVIDIA_API_KEY", "GPU_TOKEN")
    for name in (*secrets, "PYTHONPATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    made = make_environment({"HF_MODULES_CACHE": "/tmp/x"})
    assert "hidden" not in made.values()
    assert (made["CUDA_VISIBLE_DEVICES"], made["HF_MODULES_CACHE"]) == ("1", "/tmp/x")
    assert made["HF_HUB_OFFLINE"] == "1"


class Child:
    """A process that is no worker, and what is heard of it."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.lines: list[str] = []
        self.status: list[int] = []
        self.quiet = False
        # A bug in whoever takes its frames
        self.broken = False
        self.process = WorkerProcess(
            on_message=self._receive,
            on_line=self.lines.append,
            on_exit=self.status.append,
            quiet=lambda: self.quiet,
        )

    def _receive(self, message: WorkerMessage) -> None:
        if self.broken:
            raise ZeroDivisionError("secret words")
        self.messages.append(message.type)

    async def start(self, script: str) -> None:
        begin = (
            "import os, signal, sys, time\nfrom server.shared.processes.wire import encode, read\n"
        )
        await self.process.start([sys.executable, "-c", begin + script], make_environment({}), ROOT)


async def test_lines_of_its_log_are_heard_but_while_a_question_is_in_work() -> None:
    """They might quote it: those are counted, and nobody hears them."""
    child = Child()
    await child.start(
        "for _ in range(3):\n"
        "    message = read(sys.stdin.buffer)\n"
        "    print(message.header['say'], 'x' * 3000, file=sys.stderr, flush=True)\n"
        "    sys.stdout.buffer.write(encode({'type': 'said'})); sys.stdout.flush()\n"
    )
    for number, quiet in enumerate((False, True, False)):
        await soon(lambda number=number: len(child.messages) == number)  # type: ignore[misc]
        before = len(child.lines) + child.process.ring.withheld
        child.quiet = quiet
        child.process.send({"type": "say", "say": f"line{number}"})
        await soon(lambda before=before: len(child.lines) + child.process.ring.withheld > before)  # type: ignore[misc]
    await soon(lambda: bool(child.status))
    assert [line[:5] for line in child.lines] == ["line0", "line2"]
    assert {len(line) for line in child.lines} == {LONGEST_LINE}
    assert child.process.ring.withheld == 1
    assert (child.status, child.process.pid) == ([0], None)
    child.process.send({"type": "late"})
    await child.process.stop()


@pytest.mark.slow
async def test_a_flood_of_lines_leaves_the_loop_its_time() -> None:
    """Endless output of a worker's libraries is read slowly; past the bound it is only counted."""
    child = Child()
    await child.start("while True: os.write(2, b'-' * 1900 + b'\\n')")
    await soon(lambda: bool(child.lines))
    began, used = time.monotonic(), time.thread_time()
    await asyncio.sleep(2.0)
    share = (time.thread_time() - used) / (time.monotonic() - began)
    child.process.kill()
    await child.process.stop()
    assert share < 0.4
    assert any("lines were dropped" in line for line in child.lines)


async def test_a_line_without_an_end_is_cut_and_its_rest_dropped() -> None:
    """The rest of a line may be a secret's second half, so only the next line is passed on."""
    child = Child()
    await child.start(
        "for part in (b'a' * 3000, b'b' * 3000, b'b\\nnext\\nlast'): os.write(2, part); time.sleep(0.2)"
    )
    await soon(lambda: bool(child.status))
    assert [line[:4] for line in child.lines] == ["aaaa", "next", "last"]
    await child.process.stop()


async def test_what_is_no_frame_ends_it() -> None:
    """A process that writes anything else on its frames' pipe is killed, and its end is reported once."""
    child = Child()
    await child.start("print('hello, this is no frame', flush=True); time.sleep(60)")
    await soon(lambda: bool(child.status))
    assert child.status == [-9]
    assert child.messages == []
    await child.process.stop()


async def test_a_frame_that_nobody_can_take_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of its receiver ends the process: one that runs on unread answers nothing."""
    child = Child()
    child.broken = True
    with caplog.at_level(logging.ERROR):
        await child.start(
            "sys.stdout.buffer.write(encode({'type': 'odd'})); sys.stdout.flush(); time.sleep(60)"
        )
        await soon(lambda: bool(child.status))
    assert child.status == [-9]
    assert "secret words" not in caplog.text
    assert "ZeroDivisionError" in {vars(record).get("error") for record in caplog.records}
    await child.process.stop()


async def test_one_that_does_not_listen_is_ended_with_what_it_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither its input's end nor SIGTERM ends it; SIGKILL does, and a child of its own, too."""
    monkeypatch.setattr("server.shared.processes.worker_process._END_SECONDS", 0.2)
    child = Child()
    await child.start(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pid = os.fork()\n"
        "if pid: sys.stdout.buffer.write(encode({'type': str(pid)})); sys.stdout.flush()\n"
        "time.sleep(60)\n"
    )
    await soon(lambda: bool(child.messages))
    grandchild = int(child.messages[0])
    await child.process.stop()
    assert child.status == [-9]
    await soon(lambda: not alive(grandchild))


def test_it_ends_with_the_server_however_that_dies() -> None:
    """kill -9 of its starter, though it ignores SIGTERM and its child has left the group."""
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from server.shared.processes import worker_process\n"
        "from server.shared.processes.worker_process import WorkerProcess, make_environment\n"
        "worker_process._END_SECONDS = 0.2\n"
        "async def main():\n"
        "    one = WorkerProcess(on_message=lambda _: None, on_line=print, on_exit=print, quiet=bool)\n"
        "    await one.start(sys.argv[1:], make_environment({}), Path.cwd())\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    stubborn = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pid = os.fork()\n"
        "if not pid: os.setsid()\n"
        "else: print(os.getpid(), pid, file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, sys.executable, "-c", stubborn],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) == 2
        server.kill()
    wait_until_gone(pids)


BEGIN = """
import sys, time
from server.shared.processes.wire import Channel, WorkerJobs, claim_input, claim_output
channel = claim_output()
jobs = WorkerJobs(channel, "work", busy={"code": "busy"})
channel.send("loading", phase="weights")
"""
WORKS = """
jobs.listen(claim_input())
channel.send("ready", rate=5)
while True:
    message, stop = jobs.next_job()
    id, what = message.header["id"], message.header["what"]
    print("asked for", what, file=sys.stderr, flush=True)
    if what == "dies":
        sys.exit(7)
    if what == "fails":
        jobs.finish(id, "error", message="no")
        continue
    if what == "goes on":
        channel.send("piece", id=id)
        stop.wait()
    elif what == "floods":
        while not stop.is_set():
            channel.send("piece", bytes(4096), id=id)
    else:
        channel.send("piece", message.payload, id=id)
    jobs.finish(id, "end", stopped=stop.is_set())
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


async def rest(job: WorkerJob) -> list[Any]:
    """Its messages up to the last; None for the end of the worker."""
    found: list[Any] = []
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
            assert (piece.payload, end.header["stopped"]) == (payload, False)
        (error,) = await rest(one.begin({"type": "work", "what": "fails"}))
        assert error.header["message"] == "no"
        assert not one.busy
        # Its log might quote what was asked.
        await soon(lambda: one.ring.withheld == 3)
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
        assert piece.payload == b"early"
    finally:
        await one.stop()


@pytest.mark.parametrize(
    ("code", "seconds", "error", "words"),
    [
        ('channel.send("failed", message="No such model.")', 60.0, NotLoaded, "No such model."),
        ("sys.exit(3)", 60.0, WorkerEnded, None),
        pytest.param("time.sleep(60)", 0.5, TimeoutError, None, marks=pytest.mark.slow),
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
    with pytest.raises(ProcessFailed, match="was not found"):
        await one.load(60)
    assert await rest(job) == [None]
    assert one.ended.is_set()
    await one.stop()


def test_a_program_that_fetches_images_gets_the_proxies() -> None:
    """podman fetches them itself, and pip has an index; others get neither."""
    passed = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost", "PIP_INDEX_URL": "x"}
    ours = {**passed, "HF_TOKEN": "x"}
    assert make_child_environment(ours, {}, fetches=True) == passed
    assert not make_child_environment(ours, {})


def test_a_childs_own_variables_win() -> None:
    """Also where ours have the same name."""
    made = make_child_environment({"HOME": "/ours", "TZ": "UTC"}, {"HOME": "/theirs"})
    assert made == {"HOME": "/theirs", "TZ": "UTC"}

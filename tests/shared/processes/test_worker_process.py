"""A worker's process: its environment, its frames and log lines, its end."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

from server.shared.processes.process import LONGEST_LINE
from server.shared.processes.wire import Message
from server.shared.processes.worker_process import WorkerProcess, environment
from tests.support.children import alive, wait_until_gone
from tests.support.clients import soon

ROOT = Path(__file__).parents[3]


def test_the_environment_of_a_worker_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets what finds programs, libraries and GPUs, and no settings of ours; by the filter that
    all children have.
    """
    secrets = ("JWT_SECRET_KEY", "VLLM_API_KEY", "HF_TOKEN", "NVIDIA_API_KEY", "GPU_TOKEN")
    for name in (*secrets, "PYTHONPATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "hidden")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    made = environment({"HF_MODULES_CACHE": "/tmp/x"})
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

    def _receive(self, message: Message) -> None:
        if self.broken:
            raise ZeroDivisionError("secret words")
        self.messages.append(message.type)

    async def start(self, script: str) -> None:
        begin = (
            "import os, signal, sys, time\nfrom server.shared.processes.wire import encode, read\n"
        )
        await self.process.start([sys.executable, "-c", begin + script], environment({}), ROOT)


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
        before = len(child.lines) + child.process.withheld
        child.quiet = quiet
        child.process.send({"type": "say", "say": f"line{number}"})
        await soon(lambda before=before: len(child.lines) + child.process.withheld > before)  # type: ignore[misc]
    await soon(lambda: bool(child.status))
    assert [line[:5] for line in child.lines] == ["line0", "line2"]
    assert {len(line) for line in child.lines} == {LONGEST_LINE}
    assert child.process.withheld == 1
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
    assert any("lines were left out" in line for line in child.lines)


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
        "from server.shared.processes.worker_process import WorkerProcess, environment\n"
        "worker_process._END_SECONDS = 0.2\n"
        "async def main():\n"
        "    one = WorkerProcess(on_message=lambda _: None, on_line=print, on_exit=print, quiet=bool)\n"
        "    await one.start(sys.argv[1:], environment({}), Path.cwd())\n"
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

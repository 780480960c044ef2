"""A program as a child: real processes, a stand-in for what they run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.shared.processes.process import KEPT_LINES, ChildProcess, LogRing, ProcessFailed
from tests.support.children import alive, wait_until_gone
from tests.support.fakes import until as soon
from tests.support.timing import NEVER_SECONDS, at_once

ROOT = Path(__file__).resolve().parents[3]
STAND_IN = ROOT / "tests" / "support" / "engine_stand_in.py"
SECRET = "secretOfTheTest"
ENV = {"PATH": os.environ["PATH"], "THEIRS": "1"}


def command(behaviour: str, *arguments: str) -> list[str]:
    return [sys.executable, "-S", "-E", str(STAND_IN), behaviour, *arguments]


@asynccontextmanager
async def running(
    behaviour: str, *arguments: str, grace: float = 0.5
) -> AsyncIterator[tuple[ChildProcess, list[str]]]:
    """Started; nothing of it is left afterwards."""
    heard: list[str] = []
    process = ChildProcess(
        command(behaviour, *arguments),
        ENV,
        ring=LogRing([SECRET]),
        on_line=heard.append,
        grace=grace,
    )
    process.start()
    try:
        yield process, heard
    finally:
        await process.stop()


async def ended(process: ChildProcess) -> None:
    async with asyncio.timeout(10):
        await process.ended.wait()


async def until_said(process: ChildProcess, word: str) -> str:
    """The line that begins with the word."""
    async with asyncio.timeout(10):
        while True:
            for line in process.lines:
                if line.startswith(word):
                    return line
            await asyncio.sleep(0.01)


async def test_its_log_is_heard_without_secrets_and_control_characters() -> None:
    """The words that it was started with arrive as they are, without a shell; its environment is
    what it was given.
    """
    words = ("$(id) `id` ; *", f"the key {SECRET}", "\x1b[31mred\x1b[0m", "Bearer abcdefgh")
    async with running("echo", *words) as (process, heard):
        await ended(process)
    assert process.status == 0
    assert heard[:4] == ["$(id) `id` ; *", "the key ********", "red", "Bearer (hidden)"]
    assert "THEIRS" in json.loads(heard[4])
    assert not {"JWT_SECRET_KEY", "HOME"} & set(json.loads(heard[4]))
    assert tuple(heard) == process.lines


async def test_a_flood_of_lines_is_bounded() -> None:
    """The last lines are kept; 200 a second are passed on, and how many were not; what is read
    takes little of the loop's time.
    """
    turns, clock = 0, asyncio.get_running_loop().time
    async with running("floods") as (process, heard):
        began, used = clock(), time.process_time()
        while not process.ended.is_set():
            turns += 1
            await asyncio.sleep(0.005)
        used = time.process_time() - used
    assert len(process.lines) == KEPT_LINES
    assert process.lines[-1] == "the last line"
    told = [int(line.split()[0][1:]) for line in heard if "lines were left out" in line]
    assert told
    assert len(heard) - len(told) + process.unheard == 30_001
    assert sum(told) == process.unheard > 20_000
    # 3 MB, of which two may be read in a second
    assert clock() - began > 0.9
    assert used < 0.6
    assert turns > 20


async def test_the_end_is_noticed_with_its_status() -> None:
    """As soon as it ends, with its last words; what it leaves ends too, even in its own group."""
    async with running("leaves") as (process, _):
        await ended(process)
        assert process.status == 7
        assert process.how_it_ended() == "ended with status 7"
        children = [int(pid) for pid in process.lines[-1].split()[1:]]
    assert len(children) == 2
    assert not any(alive(pid) for pid in children)


async def test_stop_asks_first() -> None:
    """SIGTERM is enough for one that listens to it."""
    async with running("serve", grace=NEVER_SECONDS) as (process, _):
        await until_said(process, "Loading weights: 100%")
        async with at_once():
            await process.stop()
        assert process.status == -signal.SIGTERM


async def test_stop_insists() -> None:
    """One that does not listen is killed with its children after the grace; so on a second stop."""
    async with running("stubborn", grace=0.3) as (process, _):
        children = [int(pid) for pid in (await until_said(process, "children")).split()[1:]]
        assert all(alive(pid) for pid in children)
        await process.stop()
        await process.stop()
        assert process.status == -signal.SIGKILL
        assert process.how_it_ended() == "was ended by SIGKILL"
    assert not any(alive(pid) for pid in children)


async def test_nothing_outlives_a_killed_keeper() -> None:
    """Should the process between be killed, the program and its group end all the same."""
    async with running("stubborn") as (process, _):
        inside = int((await until_said(process, "children")).split()[1])
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        await ended(process)
        await soon(lambda: not alive(inside))
        assert process.status == -signal.SIGKILL


def test_it_ends_with_the_server_however_that_dies(tmp_path: Path) -> None:
    """kill -9 of the process that started it: the program is asked to end, then killed, with what
    it started, after the command that ends what is no process of it.
    """
    code = (
        "import asyncio, sys\n"
        "from server.shared.processes.process import ChildProcess\n"
        "async def main():\n"
        "    after = ['touch', sys.argv[1]]\n"
        "    env = {'PATH': '/usr/bin:/bin'}\n"
        "    one = ChildProcess(sys.argv[2:], env, on_line=print, grace=0.3, after=after)\n"
        "    one.start()\n"
        "    await one.ended.wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code, str(tmp_path / "after"), *command("stubborn")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        line = next(line for line in server.stdout if line.startswith("children"))
        children = [int(pid) for pid in line.split()[1:]]
        assert all(alive(pid) for pid in children)
        server.kill()
    wait_until_gone(children)
    assert (tmp_path / "after").exists()


@pytest.mark.parametrize("how", ["ends", "stopped", "insisted"])
async def test_what_is_none_of_its_processes_is_ended(how: str, tmp_path: Path) -> None:
    """By a command of its own, once, whichever way the program ends, and before `ended`."""
    said = tmp_path / "said"
    after = ["sh", "-c", f"echo $THEIRS >> {said}"]
    behaviour = {"ends": "leaves", "stopped": "serve", "insisted": "stubborn"}[how]
    process = ChildProcess(command(behaviour), ENV, grace=0.3, after=after)
    process.start()
    if how == "ends":
        await ended(process)
        assert process.status == 7
    else:
        await until_said(process, "children" if how == "insisted" else "Loading weights: 100%")
        assert not said.exists()
        await process.stop()
    await process.stop()
    assert said.read_text() == "1\n"


async def test_what_can_not_be_started_is_a_sentence() -> None:
    """A program that is not there, and one that may not be run."""
    for program in ("no-such-program", "/etc/passwd"):
        with pytest.raises(ProcessFailed, match="is not there or may not be run"):
            ChildProcess([program], ENV).start()
    process = ChildProcess([sys.executable, "-c", "0\0"], ENV)
    with pytest.raises(ProcessFailed, match="zero byte"):
        process.start()


# The costliest text for a search of each line: dashes, which begin a credential's option.
DASHES = "import os\nwhile True: os.write(2, b'-' * 7900 + b'\\n')"


@pytest.mark.slow
async def test_lines_made_to_be_slow_leave_the_loop_its_time() -> None:
    """A program that writes nothing else, as fast as it can, costs a fraction of the loop's time."""
    process = ChildProcess([sys.executable, "-S", "-c", DASHES], ENV, grace=0.2)
    process.start()
    await soon(lambda: bool(process.lines))
    began, used = time.monotonic(), time.thread_time()
    await asyncio.sleep(2.0)
    share = (time.thread_time() - used) / (time.monotonic() - began)
    await process.stop()
    assert share < 0.4


async def test_a_number_that_may_be_anothers_gets_no_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once it has ended, stopping sends nothing (tests/shared/processes/test_process_group.py: and before,
    only while it is not reaped).
    """
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _: sent.append(pid))
    async with running("echo") as (process, _):
        await ended(process)
        sent.clear()
    assert not sent


async def test_a_log_that_is_closed_and_one_in_another_encoding() -> None:
    """It runs on without a log; half a character and what is no text at all are shown as such."""
    code = "import os, time; os.write(1, b'\\xe2\\x82 \\xff\\n\\xe2\\x82'); os.close(1); os.close(2); time.sleep(9)"
    heard: list[str] = []
    process = ChildProcess([sys.executable, "-S", "-c", code], ENV, on_line=heard.append)
    process.start()
    await soon(lambda: len(heard) == 2)
    assert heard == ["\ufffd \ufffd", "\ufffd"]
    assert process.running
    await process.stop()
    assert process.status == -signal.SIGTERM

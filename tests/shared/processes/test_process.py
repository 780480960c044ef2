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

from server.shared.processes import reaper
from server.shared.processes.process import (
    KEPT_LINES,
    LONGEST_LINE,
    ChildProcess,
    LogRing,
    ProcessFailed,
)
from server.shared.processes.worker_process import WorkerProcess, make_environment
from tests.support import macos
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


async def up(*argv: str) -> ChildProcess:
    """A program that has said something."""
    process = ChildProcess(argv, ENV, grace=0.2)
    process.start()
    await soon(lambda: bool(process.lines))
    return process


async def ended(process: ChildProcess) -> None:
    async with asyncio.timeout(10):
        await process.ended.wait()


async def until_said(process: ChildProcess, word: str) -> str:
    """The line that begins with the word."""
    await soon(lambda: any(line.startswith(word) for line in process.lines), 10)
    return next(line for line in process.lines if line.startswith(word))


async def test_its_log_is_heard_without_secrets_and_control_characters() -> None:
    """Its words arrive as they are, without a shell; its environment is what it was given."""
    words = ("$(id) `id` ; *", f"the key {SECRET}", "\x1b[31mred\x1b[0m", "Bearer abcdefgh")
    async with running("echo", *words) as (process, heard):
        await ended(process)
    assert process.status == 0
    assert heard[:4] == ["$(id) `id` ; *", "the key ********", "red", "Bearer (hidden)"]
    assert "THEIRS" in json.loads(heard[4])
    assert not {"JWT_SECRET_KEY", "HOME"} & set(json.loads(heard[4]))
    assert tuple(heard) == process.lines


async def test_a_flood_of_lines_is_bounded() -> None:
    """The last are kept; 200 a second are passed on, and the number of others, in little time."""
    turns, clock = 0, asyncio.get_running_loop().time
    async with running("floods") as (process, heard):
        began, used = clock(), time.process_time()
        while not process.ended.is_set():
            turns += 1
            await asyncio.sleep(0.005)
        used = time.process_time() - used
    assert len(process.lines) == KEPT_LINES
    assert process.lines[-1] == "the last line"
    told = [int(line.split()[0][1:]) for line in heard if "lines were dropped" in line]
    assert told
    assert len(heard) - len(told) + process.ring.unreturned == 30_001
    assert sum(told) == process.ring.unreturned > 20_000
    # 3 MB, of which two may be read in a second
    assert clock() - began > 0.4
    assert used < 0.6
    assert turns > 20


async def test_the_end_is_noticed_with_its_status() -> None:
    """As soon as it ends, with its last words; what it leaves ends too, even in its own group."""
    async with running("leaves") as (process, _):
        await ended(process)
        assert process.status == 7
        assert process.explain_end() == "ended with status 7"
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
        assert process.explain_end() == "was ended by SIGKILL"
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


@pytest.mark.parametrize("system", [(), (macos.__file__,)], ids=["linux", "macos"])
def test_it_ends_with_the_server_however_that_dies(system: tuple[str, ...], tmp_path: Path) -> None:
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
        [sys.executable, *system, "-u", "-c", code, str(tmp_path / "after"), *command("stubborn")],
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
        with pytest.raises(ProcessFailed, match="was not found, or is not executable"):
            ChildProcess([program], ENV).start()
    process = ChildProcess([sys.executable, "-c", "0\0"], ENV)
    with pytest.raises(ProcessFailed, match="null byte"):
        process.start()


# The costliest text for a search of each line: dashes, which begin a credential's option.
DASHES = "import os\nwhile True: os.write(2, b'-' * 7900 + b'\\n')"


@pytest.mark.slow
async def test_lines_made_to_be_slow_leave_the_loop_its_time() -> None:
    """A program that writes nothing else, as fast as it can, costs a fraction of the loop's time."""
    process = await up(sys.executable, "-S", "-c", DASHES)
    began, used = time.monotonic(), time.thread_time()
    await asyncio.sleep(2.0)
    share = (time.thread_time() - used) / (time.monotonic() - began)
    await process.stop()
    assert share < 0.4


async def test_a_number_that_may_be_others_gets_no_signal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once it has ended, stopping sends nothing; before, only while it is not reaped (below)."""
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


def test_the_ring_of_lines() -> None:
    """Any cut gives the same lines; one that is written over takes one place; long ones are cut."""
    raw = b"one\r\n\r 1%\r 2%\r 3%\ntwo\n" + b"x" * 3000 + b"\nlast"
    expected = ["one", "3%", "two", "x" * LONGEST_LINE, "last"]
    for size in (1, 2, 3, 7, 5000):
        ring = LogRing()
        for at in range(0, len(raw), size):
            ring.feed(raw[at : at + size])
        ring.end()
        assert list(ring.lines) == expected, size
    endless = LogRing()
    for _ in range(50):
        endless.feed(b"y" * 1000)
    assert len(endless._rest) <= 4 * LONGEST_LINE
    # Wherever it is cut, no half of a secret is shown.
    ring = LogRing(["secret-of-ours"])
    for at in range(0, 20_000, 7):
        ring.feed((b"secret-of-ours " * 1400)[at : at + 7])
    ring.end()
    assert set(ring.lines[0].split()) <= {"********"[:n] for n in range(9)}
    # Also where much of what stands before it is not shown, or something is put between.
    ring = LogRing(["s" * 40])
    ring.feed(b"\x1b[0m" * 1990 + b"s" * 5000 + b"\n" + b"s" * 20 + b"\x1b[1m" + b"s" * 20 + b"\n")
    assert ring.lines == ("********",)
    # Nor where colours have taken the room before it, or stand within it.
    ring = LogRing(["secret-of-ours"])
    for part in (b"\x1b[1m" * 1999, b"secre", b"t-of-ours and more\n", b"sec\x1b[1mret-of-ours\n"):
        ring.feed(part)
    assert ring.lines == ("********",)
    # A credential that begins in one line and ends in the next is hidden, too.
    ring = LogRing()
    ring.feed(b"api_key=\nhunter2\n")
    assert ring.lines == ("api_key=", "(hidden)")
    for number in range(KEPT_LINES + 3):
        endless.feed(b"%d\n" % number)
    assert endless.lines == tuple(map(str, range(3, KEPT_LINES + 3)))
    working = True
    quiet = LogRing(quiet=lambda: working)
    assert quiet.feed(b"one\ntwo") == []
    working = False
    assert quiet.end() == ["two"]
    assert (quiet.lines, quiet.withheld) == (("two",), 1)
    # Nor kept where there is no room to pass it on.
    working = True
    assert quiet.feed(b"three\nfour\n", lambda size: False) == []
    assert (quiet.lines, quiet.withheld, quiet.unreturned) == (("two",), 3, 0)
    drawn_over = LogRing(redrawn=False)
    assert drawn_over.feed(b" 1%\r 2%\r\n 3%\r 4%\nend\n") == ["2%", "4%", "end"]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"Loading weights:  1%\rLoading weights: 50%", "Loading weights: 50%"),
        (b"token=abcdef ok", "token=(hidden) ok"),
        (b"https://me:pw@host/x", "https://(hidden)@host/x"),
        (b"use hf_abcdefghijklmnop now", "use (hidden) now"),
        (b"\x1b[31mred\x1b[0m\x07", "red"),
        (b"\xff" * 3000, "\ufffd" * LONGEST_LINE),
        (b"   ", ""),
    ],
)
def test_log_lines_are_bounded_and_without_secrets(raw: bytes, shown: str) -> None:
    """A progress bar's last text is shown: printable, cut, without anything like a key."""
    assert "".join(LogRing(redrawn=False).feed(raw + b"\n")) == shown


killpg = os.killpg


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Groups that were signalled although their leader had been reaped, so that any process could
    have their number.
    """
    found: list[int] = []

    def watched(group: int, number: int) -> None:
        try:
            os.waitid(os.P_PID, group, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            found.append(group)
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", watched)
    return found


@pytest.mark.parametrize("ending", ["exit 3", "kill -9 $$", "sleep 60"])
async def test_an_engine_that_ends(late: list[int], ending: str) -> None:
    """By itself, by a signal, or on request."""
    process = await up("sh", "-c", f"echo up; {ending}")
    if ending == "sleep 60":
        await process.stop()
    await soon(process.ended.is_set)
    await process.stop()
    assert process.status in (3, -signal.SIGKILL, -signal.SIGTERM)
    assert late == []


async def test_an_engine_whose_keeper_is_killed(late: list[int]) -> None:
    """Its engine is ended all the same, while the group number still belongs to it."""
    process = await up("sh", "-c", "echo $$; sleep 60")
    assert process.pid is not None
    engine = int(process.lines[0])
    os.kill(process.pid, signal.SIGKILL)
    await soon(process.ended.is_set)
    assert process.status == -signal.SIGKILL
    await soon(lambda: not alive(engine))
    assert late == []


@pytest.mark.parametrize("ending", ["sys.exit(3)", "os.kill(os.getpid(), 9)", "time.sleep(60)"])
async def test_a_worker_that_ends(late: list[int], ending: str) -> None:
    """It leaves a child in its group, which ends with it, not once somebody else has its number."""
    statuses: list[int] = []
    process = WorkerProcess(
        on_message=lambda _: None, on_line=lambda _: None, on_exit=statuses.append, quiet=bool
    )
    script = (
        "import os, sys, time\n"
        "pid = os.fork()\n"
        "if not pid: time.sleep(60)\n"
        f"print(pid, file=sys.stderr, flush=True); sys.stdin.read(1); {ending}\n"
    )
    await process.start([sys.executable, "-c", script], make_environment({}), Path.cwd())
    await soon(lambda: bool(process.ring.lines))
    child = int(process.ring.lines[0])
    process.send({"type": "end"})
    if "sleep" in ending:
        process.kill()
    await soon(lambda: bool(statuses))
    process.kill()
    await process.stop()
    assert statuses[0] in (3, -signal.SIGKILL)
    await soon(lambda: not alive(child))
    assert late == []


def test_what_a_keeper_kills_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number that became another's after the processes were listed gets no signal."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        lists = [[stranger.pid], []]
        monkeypatch.setattr(reaper, "list_descendants", lambda _: lists.pop(0) if lists else [])
        reaper.kill_below(os.getpid())
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.3)
        lists = [[stranger.pid], [stranger.pid]]
        reaper.kill_below(os.getpid())
        assert stranger.wait(5) == -signal.SIGKILL

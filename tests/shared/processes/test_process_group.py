"""A process group gets signals only while its number is surely its own: its leader unreaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.shared.processes import reaper
from server.shared.processes.process import ChildProcess
from server.shared.processes.worker_process import WorkerProcess, environment
from tests.support.children import alive
from tests.support.fakes import until as soon

ENV = {"PATH": os.environ["PATH"]}
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
    process = ChildProcess(["sh", "-c", f"echo up; {ending}"], ENV, grace=0.2)
    process.start()
    await soon(lambda: bool(process.lines))
    if ending == "sleep 60":
        await process.stop()
    await soon(process.ended.is_set)
    await process.stop()
    assert process.status in (3, -signal.SIGKILL, -signal.SIGTERM)
    assert late == []


async def test_an_engine_whose_keeper_is_killed(late: list[int]) -> None:
    """Its engine is ended all the same, while the group number still belongs to it."""
    process = ChildProcess(["sh", "-c", "echo $$; sleep 60"], ENV, grace=0.2)
    process.start()
    await soon(lambda: bool(process.lines))
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
    await process.start([sys.executable, "-c", script], environment({}), Path.cwd())
    await soon(lambda: bool(process.lines))
    child = int(process.lines[0])
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
        monkeypatch.setattr(reaper, "descendants", lambda _: lists.pop(0) if lists else [])
        reaper.kill_below(os.getpid())
        with pytest.raises(subprocess.TimeoutExpired):
            stranger.wait(0.3)
        lists = [[stranger.pid], [stranger.pid]]
        reaper.kill_below(os.getpid())
        assert stranger.wait(5) == -signal.SIGKILL

"""Runs between the server and an engine's program, so that nothing of the engine outlives the server.

`python -I -S keeper.py SECONDS PROGRAM ARGUMENT…`, as the leader of a process group. Its standard input is a pipe that
the server holds open and never writes to. When that ends, because the server closed it or is gone however it went, the
group gets SIGTERM and, SECONDS later, all that the program ever started gets SIGKILL, also what left the group. When the
program ends by itself, what it started ends with it, and this process ends as the program did: by the same status or signal.

It uses the standard library alone. A program of its own, rather than something run between fork and exec: the server has threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from types import FrameType

# prctl(2)
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
CANNOT_START = 127


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """The group's signals are for the others in it. Not SIG_IGN, which the program would inherit."""


def _parents() -> dict[int, int]:
    """Parent by process id, of all processes to be seen; empty where there is no /proc."""
    found: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            # The name in it may hold spaces and brackets; what follows its last bracket is regular.
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"/proc/{name}/stat", "rb") as file,
            ):
                found[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    return found


def descendants(pid: int) -> list[int]:
    """Process ids below `pid`, however deep."""
    parents = _parents()
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below - {pid})


def _run(command: list[str], libc: ctypes.CDLL | None) -> int:
    """The process id of the program."""
    keeper = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        if libc is not None:
            libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
        # Python ignores it, and what is ignored stays so.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if os.getppid() == keeper:
            os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started ({error.strerror}).\n".encode())
    os._exit(CANNOT_START)


def _reap(program: int, status: int | None) -> tuple[int | None, bool]:
    """The program's wait status, None while it runs, and whether any child is left."""
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == program:
            status = ended


def main(arguments: list[str]) -> None:
    grace, command = float(arguments[0]), arguments[1:]
    with contextlib.suppress(ValueError, OSError):
        # Pictures and conversations are in an engine's memory.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        # What is left without a parent becomes ours, also when it has left the group.
        libc.prctl(_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, _nothing)
    lifeline = os.dup(0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    program = _run(command, libc)
    # The log belongs to the program: its end is told when the program's copies are closed.
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)

    status: int | None = None
    children, deadline = True, None
    while children:
        status, children = _reap(program, status)
        if status is not None or (deadline is not None and time.monotonic() >= deadline):
            for pid in descendants(os.getpid()):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            # Some may have started others meanwhile.
            time.sleep(0.01)
            continue
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        watched = [woken] if deadline is not None else [woken, lifeline]
        ready = select.select(watched, [], [], left)[0]
        if lifeline in ready:
            deadline = time.monotonic() + grace
            os.killpg(0, signal.SIGTERM)
        with contextlib.suppress(BlockingIOError):
            os.read(woken, 512)
    if status is None:
        status = 0
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(sys.argv[1:])

"""A process between a starter and its program, so that no process of the program outlives the starter.

`make_command` builds its command line; it must lead a process group. The lifeline is a pipe that the
starter keeps open and never writes to. When it is closed, because the starter closed it or has ended
for any reason, the group gets SIGTERM, and after the grace period all descendants of the program
get SIGKILL, including those that left the group (on macOS only while they have their parent). When
the program ends by itself, its descendants are ended, and this process ends with the same status or
signal. The standard streams are the program's.

It is a separate program rather than code between fork and exec, because starters have threads. It
uses only the standard library, so that it starts within milliseconds with any Python; therefore it
reads /proc instead of using psutil.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

# prctl(2)
_SET_PDEATHSIG, _SET_DUMPABLE, _SET_CHILD_SUBREAPER = 1, 4, 36
CANNOT_START = 127
_GROUPS_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Maximum seconds to wait for a killed process; a process that takes longer is blocked by a device, and is
# left to the system.
KILL_SECONDS = 5.0
# Time limit of the command that ends work outside the process tree
AFTER_SECONDS = 20.0


def make_command(
    grace: float, program: Sequence[str], after: Sequence[str] = (), *, lifeline: int
) -> list[str]:
    """Return the command line that runs `program`, a path or a name in PATH with its arguments.

    `grace` is in seconds. `lifeline` is the read end of the pipe, a descriptor inherited by the reaper.
    `after` is an optional command that runs before any process is killed, however the program ended:
    it ends work outside this process tree, such as a container. The reaper's Python ignores the
    environment, which is meant for the program.
    """
    words = [str(lifeline), f"{grace:g}", str(len(after)), *after, *program]
    return [sys.executable, "-I", "-S", __file__, *words]


def _ignore_signal(_number: int, _frame: FrameType | None) -> None:
    """Ignore signals to the group, which are for its other processes. SIG_IGN would be inherited by the program."""


def _get_parents() -> dict[int, set[int]]:
    """Return the parent of each visible process; without /proc also its process group."""
    found: dict[int, set[int]] = {}
    if not os.path.isdir("/proc"):
        listing = ["/bin/ps", "-A", "-o", "pid=", "-o", "ppid=", "-o", "pgid="]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(listing, stdout=subprocess.PIPE, check=True, timeout=KILL_SECONDS)
            # An orphan gets another parent, but stays in its group.
            for pid, *above in (map(int, line.split()) for line in done.stdout.splitlines()):
                found[pid] = set(above)
        return found
    for name in os.listdir("/proc"):
        if name.isdigit():
            # The process name may contain spaces and brackets; the fields after its last bracket are regular.
            with (
                contextlib.suppress(OSError, ValueError, IndexError),
                open(f"/proc/{name}/stat", "rb") as file,
            ):
                found[int(name)] = {int(file.read().rpartition(b")")[2].split()[1])}
    return found


def list_descendants(pid: int) -> list[int]:
    """Return all descendants of `pid`."""
    parents = _get_parents()
    below = {pid}
    while more := {child for child, above in parents.items() if above & below} - below:
        below |= more
    return sorted(below - {pid})


def kill_below(pid: int) -> None:
    """Send SIGKILL to all descendants of `pid`, and to no process that reused the number of an ended one.

    Each is opened first; then they are listed again, and those that are still descendants get the
    signal.
    """
    opened: dict[int, int | None] = {}
    for below in list_descendants(pid):
        try:
            opened[below] = os.pidfd_open(below)
        except ProcessLookupError:
            continue
        except (AttributeError, OSError):
            # Available from Linux 5.3 on.
            opened[below] = None
    still = set(list_descendants(pid))
    for below, descriptor in opened.items():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if below in still and descriptor is not None:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            elif below in still:
                os.kill(below, signal.SIGKILL)
        if descriptor is not None:
            os.close(descriptor)


def _run(words: list[str], libc: ctypes.CDLL | None) -> int:
    """Start the program. Return its process id."""
    reaper = os.getpid()
    # Our handlers would catch a signal before exec, and the program would never get it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUPS_SIGNALS)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    try:
        for number in _GROUPS_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if libc is not None:
            libc.prctl(_SET_PDEATHSIG, signal.SIGKILL)
        # Python ignores it, and ignored signals are inherited.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        if os.getppid() == reaper:
            os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]} cannot be started ({error.strerror}).\n".encode())
    os._exit(CANNOT_START)


def _run_after(command: list[str]) -> None:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            command, stdin=subprocess.DEVNULL, start_new_session=True, timeout=AFTER_SECONDS
        )


def _reap(program: int, status: int | None) -> tuple[int | None, bool]:
    """Reap ended children. Return the program's wait status (None while it runs), and True while any child is left."""
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == program:
            status = ended


def _forbid_core_dumps() -> None:
    """Forbid core dumps of an engine's memory. `server.core.core_dumps` cannot be imported here."""
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError), open("/proc/self/coredump_filter", "wb") as file:
            file.write(b"0")
        ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0, 0, 0, 0)


def main(arguments: list[str]) -> None:
    lifeline, grace, count = int(arguments[0]), float(arguments[1]), 3 + int(arguments[2])
    after, words = arguments[3:count], arguments[count:]
    os.set_inheritable(lifeline, False)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is not None:
        # Adopt orphaned descendants, including those that left the group.
        libc.prctl(_SET_CHILD_SUBREAPER, 1)
    for number in (*_GROUPS_SIGNALS, signal.SIGCHLD):
        signal.signal(number, _ignore_signal)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    program = _run(words, libc)
    # The streams belong to the program: they must close when the program closes its copies.
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)

    children = True
    status: int | None = None
    # Monotonic times: when SIGKILL is due, and since when it is being sent
    deadline: float | None = None
    killing: float | None = None
    while children:
        status, children = _reap(program, status)
        now = time.monotonic()
        if status is not None or (deadline is not None and now >= deadline):
            if after:
                _run_after(after)
                after, now = [], time.monotonic()
            killing = now if killing is None else killing
            if now - killing > KILL_SECONDS:
                break
            kill_below(os.getpid())
            # Some may have started other processes meanwhile.
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
    if after:
        _run_after(after)
    if status is None:
        status = signal.SIGKILL.value
    if os.WIFSIGNALED(status):
        ended_by = os.WTERMSIG(status)
        with contextlib.suppress(OSError, ValueError):
            signal.signal(ended_by, signal.SIG_DFL)
        os.kill(os.getpid(), ended_by)
    os._exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    _forbid_core_dumps()
    main(sys.argv[1:])

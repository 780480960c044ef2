"""Run a program as a child: start it without a shell, read its log, detect its end, and end it with its descendants.

Engines, container runtimes and workers run as a `ChildProcess`; a worker (`worker_process`) adds
framed pipes. Each runs below a `reaper`, which ends it when this program is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from server.core.aio import Bucket, Timer
from server.core.errors import OperatorError
from server.core.redact import remove_controls
from server.shared.processes import reaper
from server.shared.processes.redactor import Redactor

log = logging.getLogger(__name__)

_CHUNK = 16_384
# Maximum pieces read at the end; a pipe contains fewer.
_LAST_PIECES = 64

OnLine = Callable[[str], None]


class ProcessFailed(OperatorError):
    """The program cannot be started; `message` is a sentence for operators."""


class ChildProcess:
    """One run of a program. `ended` is set when it has ended with all its descendants.

    `env` is the whole environment of the child. `ring` keeps the end of its log; `on_line` gets its
    lines within limits, and the number of dropped ones. `grace`: seconds between SIGTERM and SIGKILL.
    `after`: a command that ends work outside its own processes; it runs however the program ended,
    also if this program is gone.

    Bounds of an engine's log: 400 lines of 2,000 characters, the oldest are dropped; 200 lines
    and 64 KiB a second are passed on (`shared/processes/process.py`), and the number of dropped ones;
    above 2 MiB a second the rest waits in the engine's pipe.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        ring: LogRing | None = None,
        on_line: OnLine | None = None,
        cwd: Path | None = None,
        grace: float = 10.0,
        after: Sequence[str] = (),
    ) -> None:
        self._argv = list(argv)
        self._after = list(after)
        self._env = dict(env)
        self._on_line = on_line
        self._cwd = cwd
        self._grace = grace
        self.ring = ring or LogRing()
        self.ended = asyncio.Event()
        # Exit status, or minus the number of the signal, as in subprocess; None while running
        self.status: int | None = None
        self._group: ProcessGroup | None = None
        self._lifeline: int | None = None
        self._log: int | None = None
        now = time.monotonic()
        self._read = Bucket(READ_A_SECOND, READ_A_SECOND, now)
        self._lines = Bucket(LINES_A_SECOND, LINES_A_SECOND, now)
        self._bytes = Bucket(BYTES_A_SECOND, BYTES_A_SECOND, now)
        self._reports = Bucket(1, 1, now)
        # Number of dropped lines already reported to `on_line`
        self._reported = 0
        # Resumes reading the log after too much output; not set while reading
        self._pause = Timer()

    @property
    def pid(self) -> int | None:
        """The leader of the group, above all processes of the program; None before the start."""
        return self._group.pid if self._group is not None else None

    @property
    def running(self) -> bool:
        return self._group is not None and not self.ended.is_set()

    @property
    def lines(self) -> tuple[str, ...]:
        """The end of the log, oldest line first."""
        return self.ring.lines

    def start(self, stdin: int | None = None, stdout: int | None = None) -> None:
        """Start the program. Raises ProcessFailed.

        Its standard input is `stdin`, or empty. Its standard output is `stdout`, or the log, as is its
        standard error. The caller closes both.
        """
        program = self._argv[0]
        if shutil.which(program, path=self._env.get("PATH", os.defpath)) is None:
            raise ProcessFailed(
                f"{remove_controls(program)} was not found, or is not executable. Install it, or give its full path."
            )
        loop = asyncio.get_running_loop()
        theirs: list[int] = []
        try:
            held, self._lifeline = os.pipe()
            theirs.append(held)
            self._log, written = os.pipe()
            theirs.append(written)
            os.set_blocking(self._log, False)
            # Fork and exec in one step, without our code in between
            process = subprocess.Popen(
                reaper.make_command(self._grace, self._argv, self._after, lifeline=held),
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=written if stdout is None else stdout,
                stderr=written,
                pass_fds=(held,),
                # In its own session: Ctrl+C in the terminal is only for this program, and the
                # child's descendants end with the child.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._close_pipes()
            why = error.strerror if isinstance(error, OSError) else "an argument has a null byte"
            raise ProcessFailed(f"{remove_controls(program)} cannot be started ({why}).") from None
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._group = ProcessGroup(process)
        loop.add_reader(self._log, self._on_readable)
        threading.Thread(
            target=self._watch, args=(self._group, loop), name="child-exit", daemon=True
        ).start()

    def explain_end(self) -> str:
        """Return how it ended, as a predicate: "was ended by SIGKILL"; "runs" while running."""
        if self.status is None:
            return "runs"
        if self.status < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-self.status).name}"
            return f"was ended by signal {-self.status}"
        return f"ended with status {self.status}"

    def kill(self) -> None:
        """Send SIGKILL to the whole group immediately."""
        if self._group is not None:
            self._group.send(signal.SIGKILL)

    async def stop(self) -> None:
        """Send SIGTERM to the group, and SIGKILL after the grace period. Return when no process is left.

        It may be called twice.
        """
        if self._group is None:
            return
        self._close_lifeline()
        try:
            after = reaper.AFTER_SECONDS if self._after else 0.0
            async with asyncio.timeout(self._grace + 2 * reaper.KILL_SECONDS + after):
                await self.ended.wait()
        except TimeoutError:
            log.warning("process group of a child killed")
            self.kill()
            await self.ended.wait()

    # On the event loop

    def _on_readable(self) -> None:
        loop = asyncio.get_running_loop()
        if self._reports.take(loop.time()):
            self._report_left_out()
        self._read.spend(self._read_piece())
        if (wait := self._read.wait(loop.time())) and self._log is not None:
            loop.remove_reader(self._log)
            self._pause.set(wait, self._resume)

    def _resume(self) -> None:
        if self._log is not None:
            asyncio.get_running_loop().add_reader(self._log, self._on_readable)

    def _read_piece(self) -> int:
        """Read a piece of the log. Return its number of bytes; 0 if there are none now."""
        if self._log is None:
            return 0
        try:
            raw = os.read(self._log, _CHUNK)
        except BlockingIOError:
            return 0
        except OSError:
            raw = b""
        if not raw:
            self._close_log()
            return 0
        self._pass_on(self.ring.feed(raw, self._has_room))
        return len(raw)

    def _has_room(self, size: int) -> bool:
        now = asyncio.get_running_loop().time()
        if self._bytes.wait(now) or not self._lines.take(now):
            return False
        self._bytes.spend(size)
        return True

    def _pass_on(self, lines: Sequence[str]) -> None:
        if self._on_line is not None:
            for line in lines:
                self._on_line(line)

    def _report_left_out(self) -> None:
        left_out = self.ring.unreturned - self._reported
        if left_out and self._on_line is not None:
            self._reported += left_out
            self._on_line(f"({left_out} lines were dropped: {BEYOND})")

    def _on_exit(self, group: ProcessGroup) -> None:
        # Read the last lines, without waiting for other processes that still have the pipe open.
        for _ in range(_LAST_PIECES):
            if not self._read_piece():
                break
        # Reap the group also if the reaper itself was killed. It has ended, so this does not block.
        self.status = group.reap()
        self._close_pipes()
        self.ended.set()

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _close_log(self) -> None:
        self._pause.cancel()
        if self._log is not None:
            asyncio.get_running_loop().remove_reader(self._log)
            os.close(self._log)
            self._log = None
            self._report_left_out()
            self._pass_on(self.ring.end())

    def _close_pipes(self) -> None:
        self._close_lifeline()
        self._close_log()

    # In a thread

    def _watch(self, group: ProcessGroup, loop: asyncio.AbstractEventLoop) -> None:
        group.wait()
        try:
            loop.call_soon_threadsafe(self._on_exit, group)
        except RuntimeError:
            # The event loop was closed with the program.
            group.reap()


# Number of kept lines; maximum characters of a line (useful ones are shorter); and minimum characters
# of a secret, because a shorter one would match ordinary words
KEPT_LINES = 400
LONGEST_LINE = 2000
_LONGEST_BYTES = 4 * LONGEST_LINE
_LEAST_SECRET = 6
# Maximum bytes of a line that is kept, but not returned
_UNRETURNED_BYTES = 500
# Maximum bytes read per second; beyond, the child blocks on writing, so that the event loop has time
# for other work.
READ_A_SECOND = 2 * 1024 * 1024
# Maximum lines and bytes returned per second. A starting model server writes less than a tenth of them.
LINES_A_SECOND = 200
BYTES_A_SECOND = 64 * 1024
BEYOND = f"more than {LINES_A_SECOND} or {BYTES_A_SECOND // 1024} KiB a second"


class LogRing:
    """The last lines of a log: bounded, without secrets and control characters.

    A line that the program overwrites (it ends in a carriage return, as progress bars do) is replaced
    by the next one; without `redrawn` it is dropped. Lines that match `without` are hidden. While
    `quiet` returns True, lines may quote users: they are counted, but neither returned nor kept.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        without: re.Pattern[str] | None = None,
        *,
        redrawn: bool = True,
        quiet: Callable[[], bool] = lambda: False,
    ) -> None:
        self._secrets = sorted(
            {s for s in secrets if len(s) >= _LEAST_SECRET}, key=len, reverse=True
        )
        # Cleaned text, or raw bytes if not requested yet, because cleaning takes time
        self._lines: deque[str | bytes] = deque(maxlen=KEPT_LINES)
        self._without = without
        self._redrawn = redrawn
        self._quiet = quiet
        # Redactor of the lines returned by `feed`
        self._redactor = Redactor()
        self._rest = b""
        self._overwritten = False
        # Number of lines kept but not returned by `feed`, and neither kept nor returned
        self.unreturned = self.withheld = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """The kept lines, oldest first."""
        redactor = Redactor()
        ready = (one if isinstance(one, str) else self._clean(one, redactor) for one in self._lines)
        return tuple(line for line in ready if line)

    def feed(self, raw: bytes, take: Callable[[int], bool] = lambda size: True) -> list[str]:
        """Return the lines that `raw` completes, until `take` refuses one of so many bytes.

        All lines are kept, within the limit.
        """
        raw = self._rest + raw
        # A line feed may follow.
        held = b"\r" if raw.endswith(b"\r") else b""
        raw = raw.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\r\n")
        *whole, rest = raw.split(b"\n")
        self._rest = rest[:_LONGEST_BYTES] + held
        if not self._redrawn:
            whole = [line for line in whole if not line.endswith(b"\r")]
        given: list[str] = []
        for at, line in enumerate(whole):
            if not take(min(len(line), _LONGEST_BYTES)):
                self._keep_unreturned(whole[at:])
                break
            given += self._keep_returned(line)
        return given

    def end(self) -> list[str]:
        """Return the last, unterminated line."""
        rest, self._rest = self._rest, b""
        return self._keep_returned(rest)

    def _keep_returned(self, raw: bytes) -> list[str]:
        shown = self._clean(raw, self._redactor)
        if not shown:
            return []
        if self._quiet():
            self.withheld += 1
            return []
        self._keep(shown, raw)
        return [shown]

    def _keep_unreturned(self, lines: Sequence[bytes]) -> None:
        if self._quiet():
            self.withheld += len(lines)
            return
        self.unreturned += len(lines)
        for line in lines[-KEPT_LINES:]:
            if not line.isspace() and line:
                self._keep(_remove_last_word(line), line)

    def _keep(self, line: str | bytes, raw: bytes) -> None:
        if self._overwritten and self._lines:
            self._lines.pop()
        self._lines.append(line)
        self._overwritten = raw.endswith(b"\r")

    def _clean(self, raw: bytes, redactor: Redactor) -> str:
        """Return the cleaned line; empty if it is not kept."""
        text = remove_controls(raw[:_LONGEST_BYTES].decode("utf-8", "replace"))
        for secret in self._secrets:
            text = text.replace(secret, "********")
        if len(raw) >= _LONGEST_BYTES and self._secrets:
            # A truncated secret may be at the cut.
            text = text[: -len(self._secrets[0])]
        text = redactor.line(text, LONGEST_LINE).strip()
        return "" if self._without is not None and self._without.search(text) else text


def _remove_last_word(line: bytes) -> bytes:
    """Return the beginning of a line without the truncated last word, which may be part of a secret."""
    if len(line) <= _UNRETURNED_BYTES:
        return line
    return line[:_UNRETURNED_BYTES].rpartition(b" ")[0]


# A child that leads a process group. Its end is detected before it is reaped, so that no signal
# reaches another group: once a process is reaped, the system may reuse its number, which is also
# that of the group.

# Available on macOS from Python 3.13 on. Without it, a group whose leader has ended gets no signal.
_HAS_WAITID = hasattr(os, "waitid")


class ProcessGroup:
    """The process group of a child started with `start_new_session`. Thread-safe.

    No other code may wait for that child.
    """

    def __init__(self, leader: subprocess.Popen[bytes]) -> None:
        self._leader = leader
        self._lock = threading.Lock()

    @property
    def pid(self) -> int:
        return self._leader.pid

    def wait(self) -> None:
        """Wait until the leader has ended, without reaping it. Blocking."""
        if not _HAS_WAITID:
            self._leader.wait()
        elif self._leader.returncode is None:
            # It may be reaped by another thread meanwhile.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self._leader.pid, os.WEXITED | os.WNOWAIT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the group; do nothing once the leader is reaped."""
        with self._lock:
            self._send(number)

    def reap(self) -> int:
        """Kill the rest of the group, then return the leader's status, as in subprocess. Blocks while it runs."""
        with self._lock:
            self._send(signal.SIGKILL)
            return self._leader.wait()

    def _send(self, number: signal.Signals) -> None:
        if self._leader.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._leader.pid, number)

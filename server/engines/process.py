"""An engine's program as a child: started without a shell, its log read, its end noticed, ended with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from server.engines import keeper
from server.redact import plain, redact

log = logging.getLogger(__name__)

_KEEPER = Path(keeper.__file__)
# Of the log: lines that are kept, characters of one (no line that explains anything is longer), and of a secret: a
# shorter one would be found in ordinary words.
KEPT_LINES = 400
LONGEST_LINE = 2000
_LEAST_SECRET = 6
_CHUNK = 16_384
# Lines a second that are passed on; more are kept, not passed on, and counted.
_LINES_A_SECOND = 200
# After the program's end by signal, until the keeper must have ended, too.
_KILL_SECONDS = 5.0


class ProcessFailed(Exception):
    """The program can not be started; `message` is a sentence for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class LogRing:
    """The last lines of a log as they may be shown: bounded, secrets and control characters removed.

    A line that the program writes over (it ends in a carriage return, as progress bars do) takes one place. Lines that
    match `without` take none.
    """

    def __init__(
        self,
        secrets: Sequence[str] = (),
        kept: int = KEPT_LINES,
        without: re.Pattern[str] | None = None,
    ) -> None:
        self._secrets = sorted(
            {s for s in secrets if len(s) >= _LEAST_SECRET}, key=len, reverse=True
        )
        self._lines: deque[str] = deque(maxlen=kept)
        self._without = without
        self._rest = b""
        self._overwritten = False
        # Lines that made room for newer ones
        self.dropped = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """Oldest first."""
        return tuple(self._lines)

    def feed(self, raw: bytes) -> list[str]:
        """The lines that `raw` completes."""
        raw = self._rest + raw
        # Whether a line end follows is not known yet.
        held = b"\r" if raw.endswith(b"\r") else b""
        raw = raw.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\r\n")
        *whole, self._rest = raw.split(b"\n")
        # More than is ever shown of a line, in bytes
        self._rest = self._rest[: 4 * LONGEST_LINE] + held
        return [line for one in whole if (line := self._add(one))]

    def end(self) -> list[str]:
        """What stands without an end of line."""
        rest, self._rest = self._rest, b""
        return [line for line in (self._add(rest),) if line]

    def _add(self, raw: bytes) -> str:
        text = raw.removesuffix(b"\r").decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, "********")
        text = redact(plain(text)).strip()[:LONGEST_LINE]
        if self._without is not None and self._without.search(text):
            return ""
        if text:
            if self._overwritten and self._lines:
                self._lines.pop()
            if len(self._lines) == self._lines.maxlen:
                self.dropped += 1
            self._lines.append(text)
            self._overwritten = raw.endswith(b"\r")
        return text


class EngineProcess:
    """One run of one program. It has ended when `ended` is set, and with it everything that it started.

    `env` is all of the child's environment. `secrets` are taken out of every line; lines that match `without`
    are left out. `on_line` hears each line of the log,
    200 a second at most. `grace`: seconds between SIGTERM and SIGKILL.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        secrets: Sequence[str] = (),
        without: re.Pattern[str] | None = None,
        on_line: Callable[[str], None] | None = None,
        cwd: Path | None = None,
        grace: float = 10.0,
    ) -> None:
        self._argv = list(argv)
        self._env = dict(env)
        self._on_line = on_line
        self._cwd = cwd
        self._grace = grace
        self._ring = LogRing(secrets, without=without)
        self.ended = asyncio.Event()
        # As subprocess has it: the exit status, or minus the signal's number; None while it runs.
        self.status: int | None = None
        # Lines that were kept and not passed on
        self.unheard = 0
        self._told: deque[float] = deque(maxlen=_LINES_A_SECOND)
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: int | None = None
        self._log: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int | None:
        """Of the group's leader, all of the engine's processes being below it; None before the start."""
        return self._process.pid if self._process is not None else None

    @property
    def running(self) -> bool:
        return self._process is not None and not self.ended.is_set()

    @property
    def lines(self) -> tuple[str, ...]:
        """The end of its log, oldest first."""
        return self._ring.lines

    def start(self) -> None:
        """Raises ProcessFailed."""
        program = self._argv[0]
        if shutil.which(program, path=self._env.get("PATH", os.defpath)) is None:
            raise ProcessFailed(
                f"{plain(program)} is not there or may not be run. Install it, or give its full path."
            )
        self._loop = asyncio.get_running_loop()
        held, self._lifeline = os.pipe()
        self._log, written = os.pipe()
        os.set_blocking(self._log, False)
        try:
            # Isolated from our environment and settings; fork and exec in one step, nothing of ours runs between.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), f"{self._grace:g}", *self._argv],
                env=self._env,
                cwd=self._cwd,
                stdin=held,
                stdout=written,
                stderr=written,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            self._close_pipes()
            why = error.strerror if isinstance(error, OSError) else "its arguments hold a zero byte"
            raise ProcessFailed(f"{plain(program)} cannot be started ({why}).") from None
        finally:
            os.close(held)
            os.close(written)
        self._loop.add_reader(self._log, self._readable)
        threading.Thread(
            target=self._watch, args=(self._process, self._loop), name="engine-exit", daemon=True
        ).start()

    def how_it_ended(self) -> str:
        """The end of a sentence that begins with a name: "was ended by signal 9"; "runs" while it does."""
        if self.status is None:
            return "runs"
        if self.status < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-self.status).name}"
            return f"was ended by signal {-self.status}"
        return f"ended with status {self.status}"

    async def stop(self) -> None:
        """SIGTERM to the group, SIGKILL to all of it after the grace; returns when nothing is left. Safe to call twice."""
        if self._process is None:
            return
        self._close_lifeline()
        try:
            async with asyncio.timeout(self._grace + _KILL_SECONDS):
                await self.ended.wait()
        except TimeoutError:
            log.warning("an engine's processes are killed together")
        # Nothing is there any more, where all went well.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended.wait()

    # The event loop's side

    def _readable(self) -> None:
        if self._log is None:
            return
        try:
            raw = os.read(self._log, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            raw = b""
        self._pass_on(self._ring.feed(raw) if raw else self._ring.end())
        if not raw:
            self._close_log()

    def _pass_on(self, lines: Sequence[str]) -> None:
        if self._on_line is None or self._loop is None:
            return
        now = self._loop.time()
        for line in lines:
            if len(self._told) == _LINES_A_SECOND and now - self._told[0] < 1.0:
                self.unheard += 1
                continue
            self._told.append(now)
            self._on_line(line)

    def _exited(self, status: int) -> None:
        # What it said last; whoever may hold the pipe still is not waited for.
        for _ in range(64):
            if self._log is None:
                break
            before = self._ring.lines[-1:], self._ring.dropped
            self._readable()
            if self._log is not None and before == (self._ring.lines[-1:], self._ring.dropped):
                break
        self.status = status
        if status < 0 and self._process is not None:
            # Should the keeper itself have been ended so: what it kept.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._close_pipes()
        self.ended.set()

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _close_log(self) -> None:
        if self._log is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._log)
            os.close(self._log)
            self._log = None

    def _close_pipes(self) -> None:
        self._close_lifeline()
        self._close_log()

    # In a thread

    def _watch(self, process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop) -> None:
        status = process.wait()
        # The loop may have been closed with the program.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._exited, status)

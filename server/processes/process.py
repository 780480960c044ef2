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
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from server.core.redact import Redactor, plain
from server.processes import keeper
from server.processes.log_budget import BEYOND, LogBudget
from server.processes.process_group import ProcessGroup

log = logging.getLogger(__name__)

# Of the log: lines that are kept, characters of one (no line that explains anything is longer), and of a secret: a
# shorter one would be found in ordinary words.
KEPT_LINES = 400
LONGEST_LINE = 2000
_LONGEST_BYTES = 4 * LONGEST_LINE
_LEAST_SECRET = 6
_CHUNK = 16_384
# Of a line that is kept and not passed on
_UNHEARD_BYTES = 500
# What a pipe holds at most, in pieces, with room to spare: what is read at the end
_LAST_PIECES = 64


class ProcessFailed(Exception):
    """The program cannot be started; `message` is a sentence for people."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class LogRing:
    """The last lines of a log as they may be shown: bounded, secrets and control characters removed.

    A line that the program writes over (it ends in a carriage return, as progress bars do) takes one place. Lines that
    match `without` are not shown.
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
        self._kept = kept
        # Text as it may be shown; bytes where nobody asked yet, since making it ready takes its time.
        self._lines: deque[str | bytes] = deque(maxlen=kept)
        self._without = without
        # Of the lines that `feed` gives
        self._redactor = Redactor()
        self._rest = b""
        self._overwritten = False
        # Lines that made room for newer ones, and lines that `feed` did not give
        self.dropped = self.unheard = 0

    @property
    def lines(self) -> tuple[str, ...]:
        """Oldest first."""
        redactor = Redactor()
        ready = (one if isinstance(one, str) else self._shown(one, redactor) for one in self._lines)
        return tuple(line for line in ready if line)

    def feed(self, raw: bytes, hears: Callable[[int], bool] = lambda size: True) -> list[str]:
        """The lines that `raw` completes, until one finds that `hears` not so many bytes; all are kept, as far as there is room."""
        raw = self._rest + raw
        # Whether a line end follows is not known yet.
        held = b"\r" if raw.endswith(b"\r") else b""
        raw = raw.removesuffix(held).replace(b"\r\n", b"\n").replace(b"\r", b"\r\n")
        *whole, rest = raw.split(b"\n")
        self._rest = rest[:_LONGEST_BYTES] + held
        given: list[str] = []
        for at, line in enumerate(whole):
            if not hears(min(len(line), _LONGEST_BYTES)):
                self._keep_unheard(whole[at:])
                break
            if shown := self._shown(line, self._redactor):
                self._keep(shown, line)
                given.append(shown)
        return given

    def end(self) -> list[str]:
        """What stands without an end of line."""
        rest, self._rest = self._rest, b""
        shown = self._shown(rest, self._redactor)
        if shown:
            self._keep(shown, rest)
        return [shown] if shown else []

    def _keep_unheard(self, lines: Sequence[bytes]) -> None:
        self.unheard += len(lines)
        last = lines[-self._kept :]
        self.dropped += len(lines) - len(last)
        for line in last:
            if not line.isspace() and line:
                self._keep(_until_a_word(line), line)

    def _keep(self, line: str | bytes, raw: bytes) -> None:
        if self._overwritten and self._lines:
            self._lines.pop()
        if len(self._lines) == self._kept:
            self.dropped += 1
        self._lines.append(line)
        self._overwritten = raw.endswith(b"\r")

    def _shown(self, raw: bytes, redactor: Redactor) -> str:
        """Empty for a line that takes no place."""
        text = plain(raw[:_LONGEST_BYTES].decode("utf-8", "replace"))
        for secret in self._secrets:
            text = text.replace(secret, "********")
        if len(raw) >= _LONGEST_BYTES and self._secrets:
            # Where it was cut there may be half of one.
            text = text[: -len(self._secrets[0])]
        text = redactor.line(text, LONGEST_LINE).strip()
        return "" if self._without is not None and self._without.search(text) else text


def _until_a_word(line: bytes) -> bytes:
    """Its beginning. The word at the cut goes, which might be half of a secret."""
    if len(line) <= _UNHEARD_BYTES:
        return line
    return line[:_UNHEARD_BYTES].rpartition(b" ")[0]


class EngineProcess:
    """One run of one program. It has ended when `ended` is set, and with it everything that it started.

    `env` is all of the child's environment. `secrets` are taken out of every line; lines that match `without`
    are left out. `on_line` hears each line of the log as far as `LogBudget` has room, and how many were left out.
    `grace`: seconds between SIGTERM and SIGKILL. `after`: a command that ends what it started and what is none of its
    processes, run however it ended, also when this program is gone.
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
        after: Sequence[str] = (),
    ) -> None:
        self._argv = list(argv)
        self._after = list(after)
        self._env = dict(env)
        self._on_line = on_line
        self._cwd = cwd
        self._grace = grace
        self._ring = LogRing(secrets, without=without)
        self.ended = asyncio.Event()
        # As subprocess has it: the exit status, or minus the signal's number; None while it runs.
        self.status: int | None = None
        self._group: ProcessGroup | None = None
        self._lifeline: int | None = None
        self._log: int | None = None
        self._budget = LogBudget()
        # Of the lines that were not passed on, those that `on_line` was told of
        self._owned_up = 0
        # Goes on with the log where it was too much; None while it is read.
        self._pause: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def pid(self) -> int | None:
        """Of the group's leader, all of the engine's processes being below it; None before the start."""
        return self._group.pid if self._group is not None else None

    @property
    def running(self) -> bool:
        return self._group is not None and not self.ended.is_set()

    @property
    def unheard(self) -> int:
        """Lines that were not passed on."""
        return self._ring.unheard

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
        theirs: list[int] = []
        try:
            held, self._lifeline = os.pipe()
            theirs.append(held)
            self._log, written = os.pipe()
            theirs.append(written)
            os.set_blocking(self._log, False)
            # Fork and exec in one step, nothing of ours runs between.
            process = subprocess.Popen(
                keeper.command(self._grace, self._argv, self._after),
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
            for descriptor in theirs:
                os.close(descriptor)
        self._group = ProcessGroup(process)
        self._loop.add_reader(self._log, self._readable)
        threading.Thread(
            target=self._watch, args=(self._group, self._loop), name="engine-exit", daemon=True
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
        if self._group is None:
            return
        self._close_lifeline()
        try:
            after = keeper.AFTER_SECONDS if self._after else 0.0
            async with asyncio.timeout(self._grace + 2 * keeper.KILL_SECONDS + after):
                await self.ended.wait()
        except TimeoutError:
            log.warning("an engine's processes are killed together")
            self._group.send(signal.SIGKILL)
            await self.ended.wait()

    # The event loop's side

    def _readable(self) -> None:
        if self._loop is None:
            return
        if self._budget.turn(self._loop.time()):
            self._own_up()
        resumes = self._budget.read(self._read_piece())
        if resumes is not None and self._log is not None:
            self._loop.remove_reader(self._log)
            self._pause = self._loop.call_at(resumes, self._resume)

    def _resume(self) -> None:
        self._pause = None
        if self._loop is not None and self._log is not None:
            self._loop.add_reader(self._log, self._readable)

    def _read_piece(self) -> int:
        """How many bytes there were; 0: no more now."""
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
        self._pass_on(self._ring.feed(raw, self._budget.take))
        return len(raw)

    def _pass_on(self, lines: Sequence[str]) -> None:
        if self._on_line is not None:
            for line in lines:
                self._on_line(line)

    def _own_up(self) -> None:
        left_out = self._ring.unheard - self._owned_up
        if left_out and self._on_line is not None:
            self._owned_up += left_out
            self._on_line(f"({left_out} lines were left out: {BEYOND})")

    def _exited(self, group: ProcessGroup) -> None:
        # What it said last; whoever may hold the pipe still is not waited for.
        for _ in range(_LAST_PIECES):
            if not self._read_piece():
                break
        # Should the keeper itself have been killed: with what it kept. It has ended, so nothing is waited for.
        self.status = group.reap()
        self._close_pipes()
        self.ended.set()

    def _close_lifeline(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def _close_log(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._log is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._log)
            os.close(self._log)
            self._log = None
            self._own_up()
            self._pass_on(self._ring.end())

    def _close_pipes(self) -> None:
        self._close_lifeline()
        self._close_log()

    # In a thread

    def _watch(self, group: ProcessGroup, loop: asyncio.AbstractEventLoop) -> None:
        group.wait()
        try:
            loop.call_soon_threadsafe(self._exited, group)
        except RuntimeError:
            # The loop was closed with the program.
            group.reap()

"""A worker as a process: started without a shell in a group of its own, spoken to in frames, ended with its memory."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from server.catalogue.launch import passed_on
from server.core.aio import TaskSet
from server.core.redact import Redactor, plain
from server.processes.log_budget import LogBudget
from server.processes.process_group import ProcessGroup
from server.processes.wire import Decoder, Message, WireError, encode

log = logging.getLogger(__name__)

# Nothing is fetched and nothing is reported.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
_READ_BYTES = 256 * 1024
_LOG_BYTES = 16 * 1024
_LINES = 200
_LINE_CHARS = 500
# Seconds for each way of ending it; the last leaves it no choice, but a GPU's driver takes its time over large memory.
_END_SECONDS = 2.0
_KILLED_SECONDS = 30.0
OnMessage = Callable[[Message], None]
OnLine = Callable[[str], None]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What a worker is started with."""
    return {**passed_on(os.environ), **_OFFLINE, **extra}


def shown_line(raw: bytes, redactor: Redactor) -> str:
    """The next line of a log as it may be shown: printable, bounded, without what looks like a secret. "" for none."""
    text = raw.decode("utf-8", "replace").rpartition("\r")[2]
    return redactor.line(plain(text[: 4 * _LINE_CHARS]), _LINE_CHARS).strip()


class WorkerProcess:
    """One process, from `start` to its end.

    `on_message` hears each frame, `on_line` each line of its log, and `on_exit` once that it has ended, after the
    last frame. `quiet` is asked for each line: while it is true, lines might quote somebody and are dropped and
    counted (`withheld`), as those are that `LogBudget` has no room for. All are called on the event loop.
    """

    def __init__(
        self,
        *,
        on_message: OnMessage,
        on_line: OnLine,
        on_exit: Callable[[int], None],
        quiet: Callable[[], bool],
    ) -> None:
        self._on_message = on_message
        self._on_line = on_line
        self._on_exit = on_exit
        self._quiet = quiet
        self._group: ProcessGroup | None = None
        # None until the loop has taken the pipe over; what is sent before that waits
        self._stdin: asyncio.WriteTransport | None = None
        self._early: list[bytes] = []
        self._tasks = TaskSet("worker")
        self._redactor = Redactor()
        self._gone = asyncio.Event()
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.withheld = 0

    @property
    def pid(self) -> int | None:
        """None before its start and after its end."""
        return self._group.pid if self._group is not None and not self._gone.is_set() else None

    async def start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Raises OSError when there is no such program."""
        process = _child(argv, env, cwd)
        self._group = group = ProcessGroup(process)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        threading.Thread(
            target=_watch, args=(group, loop, ended), name="worker-exit", daemon=True
        ).start()
        try:
            self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
            self._stdin.writelines(self._early)
            self._early.clear()
            frames, out = await _reader(process.stdout)
            lines, err = await _reader(process.stderr)
        except BaseException:
            self._gone.set()
            group.send(signal.SIGKILL)
            raise
        readers = (
            self._tasks.spawn(self._read_frames(frames), name="frames"),
            self._tasks.spawn(self._read_lines(lines), name="lines"),
        )
        self._tasks.spawn(self._see_end(group, ended, readers, (out, err)), name="end")

    def send(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Once it has ended nothing happens: `on_exit` tells. Pipes hold one answer at a time, so nothing piles up."""
        if self._group is None or self._gone.is_set():
            return
        if self._stdin is None:
            self._early.append(encode(header, payload))
        elif not self._stdin.is_closing():
            self._stdin.write(encode(header, payload))

    def kill(self) -> None:
        """The whole group, at once."""
        self._signal(signal.SIGKILL)

    async def stop(self) -> None:
        """End it: by closing its input, then by asking, then at once. Returns when it is gone with what it started."""
        if self._group is None:
            return
        if self._stdin is not None:
            self._stdin.close()
        for ask in (None, signal.SIGTERM, signal.SIGKILL):
            if ask is not None:
                self._signal(ask)
            with suppress(TimeoutError):
                last = ask is signal.SIGKILL
                async with asyncio.timeout(_KILLED_SECONDS if last else _END_SECONDS):
                    await self._gone.wait()
                break
        await self._tasks.close()

    def _signal(self, number: signal.Signals) -> None:
        if self._group is not None:
            self._group.send(number)

    async def _read_frames(self, stream: asyncio.StreamReader) -> None:
        decoder = Decoder()
        try:
            while data := await stream.read(_READ_BYTES):
                for message in decoder.feed(data):
                    self._on_message(message)
        except WireError as error:
            log.error("a worker sent no frame", extra={"error": type(error).__name__})
            self.kill()

    async def _read_lines(self, stream: asyncio.StreamReader) -> None:
        held, told = b"", False
        budget, clock = LogBudget(), asyncio.get_running_loop().time
        while data := await stream.read(_LOG_BYTES):
            budget.turn(clock())
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                if not told:
                    self._line(line, budget)
                told = False
            # Of a line without an end the rest is dropped: it might begin with half of a secret.
            if len(held) > 4 * _LINE_CHARS:
                if not told:
                    self._line(held, budget)
                held, told = b"", True
            if (resumes := budget.read(len(data))) is not None:
                await asyncio.sleep(resumes - clock())
        if not told:
            self._line(held, budget)

    def _line(self, raw: bytes, budget: LogBudget) -> None:
        if not budget.take(min(len(raw), 4 * _LINE_CHARS)):
            self.withheld += bool(raw.strip())
            return
        text = shown_line(raw, self._redactor)
        if not text:
            return
        if self._quiet():
            self.withheld += 1
            return
        self.lines.append(text)
        self._on_line(text)

    async def _see_end(
        self,
        group: ProcessGroup,
        ended: asyncio.Event,
        readers: tuple[asyncio.Task[None], ...],
        pipes: tuple[asyncio.BaseTransport, ...],
    ) -> None:
        await ended.wait()
        # With what it left behind in its group; that would hold the pipes open, too.
        status = group.reap()
        await asyncio.wait(readers, timeout=_END_SECONDS)
        self._gone.set()
        if self._stdin is not None:
            self._stdin.close()
        for pipe in pipes:
            pipe.close()
        self._on_exit(status)


def _child(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> subprocess.Popen[bytes]:
    """Not asyncio's own: that reaps the child by itself, after which its group's number may be another's."""
    return subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        env=dict(env),
        cwd=cwd,
        # Of its own: Ctrl+C in the terminal is ours, and what it starts ends with it.
        start_new_session=True,
    )


async def _reader(pipe: IO[bytes] | None) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_READ_BYTES)
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader, transport


def _watch(group: ProcessGroup, loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """In a thread."""
    group.wait()
    try:
        loop.call_soon_threadsafe(ended.set)
    except RuntimeError:
        # The loop was closed with the program.
        group.reap()

"""A worker: a child process that is spoken to in frames on its standard streams."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet, cancel_and_wait, log_failure
from server.shared.processes.environment import child_environment
from server.shared.processes.process import ChildProcess, LogRing, OnLine
from server.shared.processes.wire import Decoder, Message, WireError, encode

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
# Seconds for each way of ending it: its input's end, then SIGTERM, then SIGKILL.
_END_SECONDS = 2.0
OnMessage = Callable[[Message], None]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Build the environment of a worker."""
    return child_environment(os.environ, {**_OFFLINE, **extra})


class WorkerProcess:
    """One process, from `start` to its end.

    `on_message` gets each frame, `on_line` each line of its log, and `on_exit` its status once it
    has ended, after the last frame. `quiet`: see `LogRing`. All are called on the event loop.
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
        self._child: ChildProcess | None = None
        # None until the loop has taken the pipe over; frames sent before that wait.
        self._stdin: asyncio.WriteTransport | None = None
        self._early: list[bytes] = []
        self._tasks = TaskSet("worker")
        self._gone = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """See `ChildProcess.pid`; None before its start and after its end."""
        return self._child.pid if self._child is not None and not self._gone.is_set() else None

    @property
    def lines(self) -> tuple[str, ...]:
        """See `ChildProcess.lines`."""
        return self._child.lines if self._child is not None else ()

    @property
    def withheld(self) -> int:
        """See `ChildProcess.withheld`."""
        return self._child.withheld if self._child is not None else 0

    def how_it_ended(self) -> str:
        """See `ChildProcess.how_it_ended`."""
        return self._child.how_it_ended() if self._child is not None else "was not started"

    async def start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start it. Raises ProcessFailed."""
        child = ChildProcess(
            argv,
            env,
            ring=LogRing(redrawn=False, quiet=self._quiet),
            on_line=self._on_line,
            cwd=cwd,
            grace=_END_SECONDS,
        )
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # The loop's transports close what they are given.
        sending, receiving = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb", 0)
        try:
            child.start(theirs_in, theirs_out)
        except BaseException:
            sending.close()
            receiving.close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._child = child
        loop = asyncio.get_running_loop()
        try:
            self._stdin, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, sending)
            self._stdin.writelines(self._early)
            self._early.clear()
            stream = asyncio.StreamReader(limit=_READ_BYTES)
            pipe, _ = await loop.connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(stream), receiving
            )
        except BaseException:
            self._gone.set()
            child.kill()
            for file in (sending, receiving):
                file.close()
            raise
        frames = self._tasks.spawn(self._read_frames(stream), name="frames")
        self._tasks.spawn(self._await_end(child, frames, pipe), name="end")

    def send(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        """Send a frame, which waits until it has started; do nothing once it has ended.

        Pipes hold one answer at a time, so nothing piles up.
        """
        if self._gone.is_set():
            return
        if self._stdin is None:
            self._early.append(encode(header, payload))
        elif not self._stdin.is_closing():
            self._stdin.write(encode(header, payload))

    def kill(self) -> None:
        """See `ChildProcess.kill`."""
        if self._child is not None:
            self._child.kill()

    async def stop(self) -> None:
        """End it: close its input, then see `ChildProcess.stop`.

        Return when it is gone with what it started.
        """
        if self._child is None:
            return
        if self._stdin is not None:
            self._stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._gone.wait()
        await self._child.stop()
        # A start that was given up has no task that waits for the end.
        if self._tasks:
            await self._gone.wait()
        await self._tasks.close()

    async def _read_frames(self, stream: asyncio.StreamReader) -> None:
        decoder = Decoder()
        try:
            while data := await stream.read(_READ_BYTES):
                for message in decoder.feed(data):
                    self._on_message(message)
        except WireError as error:
            log.error("a worker sent no frame", extra={"error": type(error).__name__})
            self.kill()
        except Exception as exc:  # noqa: BLE001
            # Whoever waits for its frames learns of its end instead of waiting in vain.
            log_failure("frames", exc, "a worker's frame could not be used; the worker is ended")
            self.kill()

    async def _await_end(
        self, child: ChildProcess, frames: asyncio.Task[None], pipe: asyncio.BaseTransport
    ) -> None:
        await child.ended.wait()
        # Another process that still holds the pipe is not waited for.
        await asyncio.wait((frames,), timeout=_END_SECONDS)
        await cancel_and_wait((frames,))
        self._gone.set()
        if self._stdin is not None:
            self._stdin.close()
        pipe.close()
        self._on_exit(child.status if child.status is not None else 0)

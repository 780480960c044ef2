"""A model in a worker: loaded once, then at its jobs, one at a time, until its process ends.

`worker_side` is the other side. Of all such workers the messages are: about loading whatever they like, then `ready` or
`failed` (`message`); on a job, by its `id`, whatever they like, and at last `end` or `error`. `cancel` (`id`) is to end it.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from server.core.errors import OperatorError
from server.shared.processes.process import OnLine, ProcessFailed
from server.shared.processes.usage import TreeMemory
from server.shared.processes.wire import Message
from server.shared.processes.worker_process import OnMessage, WorkerProcess, environment

ROOT = Path(__file__).resolve().parents[3]
# Of a job's messages that wait for their reader; each counts for its payload and a header.
MOST_WAITING_BYTES = 64 * 1024 * 1024
_HEADER_BYTES = 256
_TOO_MUCH = "It made more than can wait for its reader, and was stopped."
_LAST = ("end", "error")
# Seconds: the last lines of its log take another pipe than a job's end, and come after it.
_QUIET_SECONDS = 1.0


class NotLoaded(OperatorError):
    """The worker could not load its model; `message` is its own sentence."""


class WorkerEnded(Exception):
    """The worker ended while it loaded. Outside the tree of errors: its owner says what that means."""


class Job:
    """One job: the worker's messages on it, until they are read; one reader."""

    def __init__(self, id: int, send_cancel: Callable[[], None]) -> None:
        self.id = id
        # Set when its last message is there, which may wait, or the worker has ended.
        self.ended = asyncio.Event()
        self._send_cancel = send_cancel
        self._waiting: asyncio.Queue[Message | None] = asyncio.Queue()
        self._bytes = 0
        # Somebody still wants its messages.
        self._wanted = True

    async def next(self, due: float) -> Message | None:
        """Return the next message; None when the worker has ended. Raises TimeoutError at `due`, loop time."""
        async with asyncio.timeout_at(due):
            message = await self._waiting.get()
        self._bytes -= _size(message)
        return message

    def cancel(self) -> None:
        """Have it end; it is not read any more. Does nothing once it has ended."""
        self._wanted = False
        if not self.ended.is_set():
            self._send_cancel()

    def take(self, message: Message | None) -> None:
        """Take a message for the reader, or None for the end of the worker. Called by the worker's owner."""
        if message is None or message.type in _LAST:
            self.ended.set()
        if not self._wanted:
            return
        self._bytes += _size(message)
        if self._bytes > MOST_WAITING_BYTES and not self.ended.is_set():
            self.cancel()
            message = Message({"type": "error", "code": "too_much", "message": _TOO_MUCH})
        self._waiting.put_nowait(message)


def _size(message: Message | None) -> int:
    return len(message.payload) + _HEADER_BYTES if message is not None else 0


class ModelWorker:
    """One worker. `argv` runs in the program's folder, with `env` beside what every worker gets.

    `on_message` gets each message that is about no job, `on_line` each line of the log but those that come while a job
    is in work and a moment longer, which might quote it. `on_exit` is called once it has ended. All on the event loop.

    Bounds of a worker's messages on a job: 64 MiB wait for their reader; beyond, the job is cancelled
    and ends with an error.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        on_message: OnMessage = lambda _: None,
        on_line: OnLine = lambda _: None,
        on_exit: Callable[[], None] = lambda: None,
    ) -> None:
        self._argv, self._env = tuple(argv), dict(env)
        self._on_message, self._on_exit = on_message, on_exit
        self.process = WorkerProcess(
            on_message=self._receive, on_line=on_line, on_exit=self._exited, quiet=self._quiet
        )
        # Its `ready` or `failed`; the event is set, too, when it has ended
        self._loaded: Message | None = None
        self._known = asyncio.Event()
        # Those that have not ended; a cancelled one may go on for a while.
        self._jobs: dict[int, Job] = {}
        self._ids = itertools.count(1)
        self._quiet_until = 0.0
        self._memory = TreeMemory()
        # Set when it has ended, after `on_exit`.
        self.ended = asyncio.Event()
        # Its exit status or minus its signal's number; None before its end, and where it did not start
        self.status: int | None = None
        # The loop time of its last message
        self.heard_at = 0.0

    @property
    def pid(self) -> int | None:
        """See `WorkerProcess.pid`."""
        return self.process.pid

    @property
    def busy(self) -> bool:
        """True while it is at a job, which may be a cancelled one."""
        return bool(self._jobs)

    def memory_bytes(self) -> int | None:
        """See `TreeMemory.bytes`. Blocking."""
        return self._memory.bytes(self.pid)

    async def load(self, seconds: float) -> dict[str, Any]:
        """Start it, and return the fields of its `ready`. `stop` is due in any case.

        Raises ProcessFailed when it cannot be started, NotLoaded, WorkerEnded, and TimeoutError after so many seconds.
        """
        try:
            await self.process.start(self._argv, environment(self._env), ROOT)
        except ProcessFailed:
            self._exited(None)
            raise
        async with asyncio.timeout(seconds):
            await self._known.wait()
        if self._loaded is not None and self._loaded.type == "failed":
            raise NotLoaded(str(self._loaded.header["message"]))
        if self._loaded is None or self.ended.is_set():
            raise WorkerEnded
        return self._loaded.header

    def begin(self, header: Mapping[str, Any], payload: bytes = b"") -> Job:
        """Give it a job; one that it cannot begin yet waits. One that has not ended has to be cancelled."""
        id = next(self._ids)
        job = Job(id, lambda: self.process.send({"type": "cancel", "id": id}))
        if self.ended.is_set():
            job.take(None)
            return job
        self._jobs[id] = job
        self.process.send({**header, "id": id}, payload)
        return job

    async def stop(self) -> None:
        """See `WorkerProcess.stop`. Safe to call twice."""
        await self.process.stop()

    def _receive(self, message: Message) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if (id := message.header.get("id")) is not None:
            # Of one that has ended nobody wants more.
            if (job := self._jobs.get(id)) is not None:
                job.take(message)
                if job.ended.is_set():
                    del self._jobs[id]
                    self._quiet_until = self.heard_at + _QUIET_SECONDS
        elif message.type in ("ready", "failed"):
            self._loaded = message
            self._known.set()
        else:
            self._on_message(message)

    def _exited(self, status: int | None) -> None:
        self.status = status
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.take(None)
        self._known.set()
        self._on_exit()
        self.ended.set()

    def _quiet(self) -> bool:
        return self.busy or asyncio.get_running_loop().time() < self._quiet_until

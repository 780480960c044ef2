"""Workers: child processes that exchange frames over their standard streams. A worker with a model loads it once, and
then runs jobs, one at a time, until the process ends.

A model's worker sends any messages while loading, then `ready` or `failed` (`message`); for a job, by its `id`, any
messages, and finally `end` or `error`. The message `cancel` (`id`) asks it to end a job.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet, cancel_and_wait, log_failure
from server.core.errors import OperatorError
from server.shared.processes.environment import make_child_environment
from server.shared.processes.process import ChildProcess, LogRing, OnLine, ProcessFailed
from server.shared.processes.wire import WireError, WorkerMessage, encode, receive

log = logging.getLogger(__name__)

# Workers download nothing and report nothing.
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
_READ_BYTES = 256 * 1024
# Seconds for each step of ending it: end of input, SIGTERM, SIGKILL
_END_SECONDS = 2.0
OnMessage = Callable[[WorkerMessage], None]


def make_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a worker."""
    return make_child_environment(os.environ, {**_OFFLINE, **extra})


class WorkerProcess:
    """A worker's process, from `start` to its end.

    `on_message` gets each frame, `on_line` each line of the log, and `on_exit` the status after the
    last frame. `quiet`: see `LogRing`. All are called on the event loop.
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
        self.ring = LogRing(redrawn=False, quiet=quiet)
        self._child: ChildProcess | None = None
        # None until the event loop has connected the pipe; earlier frames wait.
        self._stdin: asyncio.WriteTransport | None = None
        self._early: list[bytes] = []
        self._tasks = TaskSet("worker")
        self._gone = asyncio.Event()
        # Module that the process runs, for the log
        self._program = ""

    @property
    def pid(self) -> int | None:
        """See `ChildProcess.pid`; None before the start and after the end."""
        return self._child.pid if self._child is not None and not self._gone.is_set() else None

    def explain_end(self) -> str:
        """See `ChildProcess.explain_end`."""
        return self._child.explain_end() if self._child is not None else "was not started"

    async def start(self, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        """Start the process. Raises ProcessFailed."""
        self._program = next((word for word in argv if word.startswith("server.")), "")
        child = ChildProcess(
            argv,
            env,
            ring=self.ring,
            on_line=self._on_line,
            cwd=cwd,
            grace=_END_SECONDS,
        )
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # The event loop's transports close these files.
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
        """Send a frame. It waits until the process has started; after its end, do nothing.

        There is no backlog, because only one answer is in a pipe at a time.
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
        """Close the process's input, then call `ChildProcess.stop`. It may be called twice.

        Return when the process and its descendants are gone.
        """
        if self._child is None:
            return
        if self._stdin is not None:
            self._stdin.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._gone.wait()
        await self._child.stop()
        # After a failed start no task waits for the end.
        if self._tasks:
            await self._gone.wait()
        await self._tasks.close()

    async def _read_frames(self, stream: asyncio.StreamReader) -> None:
        try:
            while (message := await receive(stream)) is not None:
                self._on_message(message)
        except WireError:
            log.error(
                "invalid message from a worker process, ending it", extra={"task": self._program}
            )
            self.kill()
        except Exception as exc:  # noqa: BLE001
            # End the worker, so that readers of its frames do not wait for ever.
            log_failure("frames", exc, "ending a worker after an unusable frame")
            self.kill()

    async def _await_end(
        self, child: ChildProcess, frames: asyncio.Task[None], pipe: asyncio.BaseTransport
    ) -> None:
        await child.ended.wait()
        # Do not wait for other processes that still have the pipe open.
        await asyncio.wait((frames,), timeout=_END_SECONDS)
        await cancel_and_wait((frames,))
        self._gone.set()
        if self._stdin is not None:
            self._stdin.close()
        pipe.close()
        self._on_exit(child.status if child.status is not None else 0)


ROOT = Path(__file__).resolve().parents[3]
# Maximum bytes of a job's messages that wait for their reader; each has the size of its payload and a header.
MOST_WAITING_BYTES = 64 * 1024 * 1024
_HEADER_BYTES = 256
_TOO_MUCH = "It was stopped, because its output was larger than the buffer for its reader."
_LAST = ("end", "error")
# Seconds after the end of a job during which its last log lines may arrive, by another pipe.
_QUIET_SECONDS = 1.0


class NotLoaded(OperatorError):
    """The worker could not load its model; `message` is the worker's sentence."""


class WorkerEnded(Exception):
    """The worker ended while loading. Not a QwenCameraError: its owner handles it."""


class WorkerJob:
    """A job of a worker, with its messages until they are read by one reader."""

    def __init__(self, id: int, send_cancel: Callable[[], None]) -> None:
        self.id = id
        # Set when the last message has arrived, even if unread, or the worker has ended
        self.ended = asyncio.Event()
        self._send_cancel = send_cancel
        self._waiting: asyncio.Queue[WorkerMessage | None] = asyncio.Queue()
        self._bytes = 0
        # The messages are still wanted.
        self._wanted = True

    async def next(self, due: float) -> WorkerMessage | None:
        """Return the next message; None if the worker has ended. Raises TimeoutError at `due`, loop time."""
        async with asyncio.timeout_at(due):
            message = await self._waiting.get()
        self._bytes -= _get_size(message)
        return message

    def cancel(self) -> None:
        """Cancel the job and stop reading it. Do nothing once it has ended."""
        self._wanted = False
        if not self.ended.is_set():
            self._send_cancel()

    def take(self, message: WorkerMessage | None) -> None:
        """Queue a message for the reader, or None for the end of the worker. Called by the worker's owner."""
        if message is None or message.type in _LAST:
            self.ended.set()
        if not self._wanted:
            return
        self._bytes += _get_size(message)
        if self._bytes > MOST_WAITING_BYTES and not self.ended.is_set():
            self.cancel()
            message = WorkerMessage({"type": "error", "code": "too_much", "message": _TOO_MUCH})
        self._waiting.put_nowait(message)


def _get_size(message: WorkerMessage | None) -> int:
    return len(message.payload) + _HEADER_BYTES if message is not None else 0


class ModelWorker(WorkerProcess):
    """A worker with a model. `argv` runs in the program's folder, with `env` added to every worker's environment.

    `on_message` gets the messages that belong to no job, `on_line` the lines of the log, except for those during a job
    and shortly after it, which might quote it. `on_exit` is called after the end. All are called on the event loop.

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
        super().__init__(
            on_message=self._receive, on_line=on_line, on_exit=self._on_exit, quiet=self._may_quote
        )
        self._argv, self._env = tuple(argv), dict(env)
        self._on_other, self._on_ended = on_message, on_exit
        # Its `ready` or `failed`; the event is also set when the worker has ended.
        self._loaded: WorkerMessage | None = None
        self._known = asyncio.Event()
        # Jobs that have not ended; a cancelled one may continue for a while.
        self._jobs: dict[int, WorkerJob] = {}
        self._ids = itertools.count(1)
        self._quiet_until = 0.0
        # Set when the worker has ended, after `on_exit`
        self.ended = asyncio.Event()
        # Exit status, or minus the number of the signal; None before the end, and if it did not start
        self.status: int | None = None
        # Loop time of its last message
        self.heard_at = 0.0

    @property
    def busy(self) -> bool:
        """True while it runs a job, which may be a cancelled one."""
        return bool(self._jobs)

    async def load(self, seconds: float) -> dict[str, Any]:
        """Start the worker. Return the fields of its `ready`. Call `stop` in any case.

        Raises ProcessFailed if it cannot be started, NotLoaded, WorkerEnded, and TimeoutError after `seconds`.
        """
        try:
            await self.start(self._argv, make_environment(self._env), ROOT)
        except ProcessFailed:
            self._on_exit(None)
            raise
        async with asyncio.timeout(seconds):
            await self._known.wait()
        if self._loaded is not None and self._loaded.type == "failed":
            raise NotLoaded(str(self._loaded.header["message"]))
        if self._loaded is None or self.ended.is_set():
            raise WorkerEnded
        return self._loaded.header

    def begin(self, header: Mapping[str, Any], payload: bytes = b"") -> WorkerJob:
        """Send a job, which may wait for its turn. It must be cancelled if it has not ended."""
        id = next(self._ids)
        job = WorkerJob(id, lambda: self.send({"type": "cancel", "id": id}))
        if self.ended.is_set():
            job.take(None)
            return job
        self._jobs[id] = job
        self.send({**header, "id": id}, payload)
        return job

    def _receive(self, message: WorkerMessage) -> None:
        self.heard_at = asyncio.get_running_loop().time()
        if (id := message.header.get("id")) is not None:
            # Ignore messages of a job that has ended.
            if (job := self._jobs.get(id)) is not None:
                job.take(message)
                if job.ended.is_set():
                    del self._jobs[id]
                    self._quiet_until = self.heard_at + _QUIET_SECONDS
        elif message.type in ("ready", "failed"):
            self._loaded = message
            self._known.set()
        else:
            self._on_other(message)

    def _on_exit(self, status: int | None) -> None:
        self.status = status
        jobs, self._jobs = self._jobs, {}
        for job in jobs.values():
            job.take(None)
        self._known.set()
        self._on_ended()
        self.ended.set()

    def _may_quote(self) -> bool:
        return self.busy or asyncio.get_running_loop().time() < self._quiet_until

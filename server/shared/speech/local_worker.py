"""A local speech model in a process of its own: the base of a local recogniser and of a local voice."""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import Message
from server.shared.processes.worker_process import WorkerProcess, environment
from server.shared.speech.errors import SpeechUnavailable

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[3]
# The last lines of the log take another pipe than the results, and come after them.
_QUIET_SECONDS = 1.0


class SpeechWorker:
    """One model in one worker, with one piece of work at a time: loaded once, and ready until its process ends.

    A subclass says what its messages mean: `on_loaded`, `on_message`, `on_end`.
    """

    name = "local"
    # Sound and texts stay on this machine.
    elsewhere = ""

    def __init__(
        self,
        what: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        load_seconds: float,
        remedy: str,
        again: str = "Start the server again.",
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`what`: "recogniser" or "voice"; `remedy`: for a process that cannot start; `again`: for one
        that has ended. `on_change` is called whenever it has become ready or has failed.
        """
        self.on_change = on_change
        self.ready = False
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"The local {what} is being loaded."
        self._what = what
        self._argv = tuple(argv)
        self._env = dict(env)
        self._load_seconds = load_seconds
        self._remedy = remedy
        self._again = again
        self._process = WorkerProcess(
            on_message=self._receive,
            on_line=lambda _line: None,
            on_exit=self._exited,
            quiet=self._quiet,
        )
        self._tasks = TaskSet(what)
        self._turn = asyncio.Lock()
        self._ids = itertools.count(1)
        self._loaded = asyncio.Event()
        self._works = self._closed = False
        self._quiet_until = 0.0

    def cannot_load(self, reason: str) -> str:
        """Word the worker's refusal to load the model."""
        return reason

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        """Take the worker's first message, just before it is ready."""

    def on_message(self, message: Message) -> None:
        """Take a message about the work."""

    def on_end(self) -> None:
        """Its process has ended."""

    @property
    def pid(self) -> int | None:
        """The process id; None while there is none."""
        return self._process.pid

    @property
    def loading(self) -> bool:
        """True until it is known whether it works."""
        return not self._loaded.is_set()

    def start(self) -> None:
        """Begin to load the model."""
        self._tasks.spawn(self._load(), name="load")

    async def wait(self) -> None:
        """Wait until it is loaded. Raises SpeechUnavailable with the reason when it cannot be."""
        await self._loaded.wait()
        if not self.ready:
            raise SpeechUnavailable(self.trouble)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        """Wait for its turn, and have the worker alone; gives an id. Raises SpeechUnavailable."""
        async with self._turn:
            if not self.ready:
                raise SpeechUnavailable(self.trouble)
            self._works = True
            try:
                yield next(self._ids)
            finally:
                self._works = False
                self._quiet_until = asyncio.get_running_loop().time() + _QUIET_SECONDS

    def send(self, header: dict[str, Any], payload: bytes = b"") -> None:
        self._process.send(header, payload)

    def kill(self) -> None:
        self._process.kill()

    def failed(self, trouble: str) -> None:
        """Note that it does not work, and why."""
        self.ready, self.trouble = False, trouble
        log.error("a local speech model does not work", extra={"reason": trouble})
        self._loaded.set()
        self.on_change()

    async def close(self) -> None:
        """End the process and its memory. Safe to call twice."""
        self._closed = True
        self.ready = False
        self.trouble = f"The local {self._what} was stopped."
        await self._process.stop()
        await self._tasks.close()
        self._loaded.set()

    async def _load(self) -> None:
        try:
            await self._process.start(self._argv, environment(self._env), ROOT)
            async with asyncio.timeout(self._load_seconds):
                await self._loaded.wait()
        except ProcessFailed as error:
            self.failed(f"{error.message} {self._remedy}")
        except TimeoutError:
            self.failed(f"The local {self._what} was not loaded within {self._load_seconds:g} s.")
            self._process.kill()

    def _receive(self, message: Message) -> None:
        match message.type:
            case "failed" | "ready" if self._closed:
                pass  # It was loaded while it was being ended.
            case "failed":
                self.failed(self.cannot_load(str(message.header["message"])))
            case "ready":
                self.on_loaded(message.header)
                self.ready, self.trouble = True, ""
                log.info("a local speech model is loaded", extra={"engine": self._what})
                self._loaded.set()
                self.on_change()
            case _:
                self.on_message(message)

    def _exited(self, status: int) -> None:
        if not self._closed and (self.ready or not self._loaded.is_set()):
            self.failed(f"The local {self._what}'s process ended (status {status}). {self._again}")
        self.ready = False
        self.on_end()

    def _quiet(self) -> bool:
        """Find whether a line of its log might quote what people say or hear."""
        with suppress(RuntimeError):
            return self._works or asyncio.get_running_loop().time() < self._quiet_until
        return True


def models_python(chosen: Path | None) -> str:
    """Return the Python of the models' environment. `chosen`: one that the settings name."""
    own = ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable

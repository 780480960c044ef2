"""A local speech model in a process of its own: the base of a local recogniser and of a local voice."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet
from server.shared.processes.model_worker import ROOT, Job, ModelWorker, NotLoaded, WorkerEnded
from server.shared.processes.process import ProcessFailed
from server.shared.processes.wire import Message
from server.shared.speech.errors import SpeechUnavailable

log = logging.getLogger(__name__)


class SpeechWorker:
    """One model in one worker, with one job at a time: loaded once, and ready until its process ends.

    A subclass asks by `job`, and says what the worker's other messages mean: `on_loaded`, `on_message`.
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
        self._load_seconds = load_seconds
        self._remedy = remedy
        self._again = again
        self._worker = ModelWorker(
            argv, env, on_message=lambda message: self.on_message(message), on_exit=self._exited
        )
        self._tasks = TaskSet(what)
        self._turn = asyncio.Lock()
        # Set once it is known whether it works.
        self._known = asyncio.Event()
        self._closed = False

    def cannot_load(self, reason: str) -> str:
        """Word the worker's refusal to load the model."""
        return reason

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        """Take the worker's first message, just before it is ready."""

    def on_message(self, message: Message) -> None:
        """Take a message that is about no job."""

    @property
    def pid(self) -> int | None:
        """The process id; None while there is none."""
        return self._worker.pid

    @property
    def loading(self) -> bool:
        """True until it is known whether it works."""
        return not self._known.is_set()

    def start(self) -> None:
        """Begin to load the model."""
        self._tasks.spawn(self._load(), name="load")

    async def wait(self) -> None:
        """Wait until it is loaded. Raises SpeechUnavailable with the reason when it cannot be."""
        await self._known.wait()
        if not self.ready:
            raise SpeechUnavailable(self.trouble)

    @asynccontextmanager
    async def job(self, header: Mapping[str, Any], payload: bytes = b"") -> AsyncIterator[Job]:
        """Wait for its turn, and have the worker do a job, which is cancelled unless it has ended by then.

        Raises SpeechUnavailable.
        """
        async with self._turn:
            if not self.ready:
                raise SpeechUnavailable(self.trouble)
            job = self._worker.begin(header, payload)
            try:
                yield job
            finally:
                job.cancel()

    def kill(self) -> None:
        self._worker.process.kill()

    def failed(self, trouble: str) -> None:
        """Note that it does not work, and why."""
        self.ready, self.trouble = False, trouble
        log.error("a local speech model does not work", extra={"reason": trouble})
        self._known.set()
        self.on_change()

    async def close(self) -> None:
        """End the process and its memory. Safe to call twice."""
        self._closed = True
        self.ready = False
        self.trouble = f"The local {self._what} was stopped."
        await self._worker.stop()
        await self._tasks.close()
        self._known.set()

    async def _load(self) -> None:
        trouble, header = "", {}
        try:
            header = await self._worker.load(self._load_seconds)
        except ProcessFailed as error:
            trouble = f"{error.message} {self._remedy}"
        except NotLoaded as error:
            trouble = self.cannot_load(error.message)
        except TimeoutError:
            trouble = f"The local {self._what} was not loaded within {self._load_seconds:g} s."
        except WorkerEnded:
            trouble = self._how_it_ended()
        if self._closed:
            return  # It was loaded while it was being ended.
        if trouble:
            self.failed(trouble)
            self.kill()
            return
        self.on_loaded(header)
        self.ready, self.trouble = True, ""
        log.info("a local speech model is loaded", extra={"engine": self._what})
        self._known.set()
        self.on_change()

    def _exited(self) -> None:
        if self.ready:
            self.failed(self._how_it_ended())

    def _how_it_ended(self) -> str:
        return (
            f"The local {self._what}'s process ended (status {self._worker.status}). {self._again}"
        )


def models_python(chosen: Path | None) -> str:
    """Return the Python of the models' environment. `chosen`: one that the settings name."""
    own = ROOT / ".venv-models" / "bin" / "python"
    if chosen is not None:
        return str(chosen)
    return str(own) if own.is_file() else sys.executable

"""A recogniser in a process of this program: a speech model of transformers, in the models' environment
(see `recogniser_worker`).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from server.core.aio import TaskSet
from server.core.errors import SpeechFailed, SpeechTimeout, SpeechUnavailable
from server.core.sound import Sound
from server.engines.speech.base import MOST_WORDS_CHARS, Words, WordTime
from server.engines.speech.whole_sound import Pieces
from server.processes.process import ProcessFailed
from server.processes.wire import Message
from server.processes.worker_process import WorkerProcess, environment

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]
# Large weights come from slow disks.
LOAD_SECONDS = 600.0
# From the end of what was said to its words
WORDS_SECONDS = 60.0
# The last lines of the log take another pipe than the words, and come after them.
_QUIET_SECONDS = 1.0


class LocalRecogniser:
    """One model in one worker, one sound at a time; see `Recogniser`. `start` loads it beside everything
    else.

    `argv` runs the worker. `on_change` is called when it becomes ready, and when it ends.
    """

    name = "local"
    # Sound stays on this machine.
    elsewhere = ""

    def __init__(
        self,
        folder: Path,
        python: str,
        *,
        env: Mapping[str, str] | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._argv = (
            *(python, "-m", "server.engines.speech.recogniser_worker"),
            *("--model", str(folder)),
        )
        self._env = dict(env or {})
        self.on_change = on_change
        self._worker = WorkerProcess(
            on_message=self._receive,
            on_line=lambda _: None,
            on_exit=self._exited,
            quiet=self._quiet,
        )
        self._tasks = TaskSet("recogniser")
        self._turn = asyncio.Lock()
        self._ids = itertools.count(1)
        # The sound in work, and where its words are awaited; None without one
        self._id = 0
        self._waiting: asyncio.Future[Message | None] | None = None
        self._loaded = asyncio.Event()
        self._quiet_until = 0.0
        self._closed = False
        self._ready = False
        # The reason why it is not ready and the remedy, for operators; "" while it is
        self.trouble = f"The speech model {folder.name} is being loaded."

    @property
    def ready(self) -> bool:
        return self._ready

    @property
    def pid(self) -> int | None:
        """The process id of the worker; None while there is none."""
        return self._worker.pid

    def start(self) -> None:
        """Begin to load the model."""
        self._tasks.spawn(self._load(), name="load")

    async def wait(self) -> None:
        """Wait until it is loaded. Raises SpeechUnavailable with the reason when it cannot be."""
        await self._loaded.wait()
        if not self._ready:
            raise SpeechUnavailable(self.trouble)

    async def recognise(
        self, sound: AsyncIterator[Sound] | Sound, *, language: str | None
    ) -> AsyncGenerator[Words, None]:
        """See `Recogniser.recognise`. The words come after the end of the sound."""
        whole = await Pieces(sound).rest()
        if whole is None:
            yield Words("", True)
            return
        async with self._turn:
            if not self._ready:
                raise SpeechUnavailable(self.trouble)
            message = await self._ask(whole, language)
        if message is None:
            raise SpeechFailed("The local recogniser's process ended while it worked.")
        if message.type == "error":
            raise SpeechFailed("The local recogniser failed. The log has the error's name.")
        header = message.header
        times = tuple(WordTime(str(w), float(b), float(e)) for w, b, e in header["times"])
        yield Words(str(header["text"])[:MOST_WORDS_CHARS], True, times)

    async def close(self) -> None:
        """End the worker and its memory. Safe to call twice."""
        self._closed = True
        self._ready = False
        self.trouble = "The local recogniser was stopped."
        await self._worker.stop()
        await self._tasks.close()

    async def _ask(self, sound: Sound, language: str | None) -> Message | None:
        """Return the worker's message on a sound; None when it has ended."""
        loop = asyncio.get_running_loop()
        self._id = id = next(self._ids)
        waiting: asyncio.Future[Message | None] = loop.create_future()
        self._waiting = waiting
        header = {"type": "recognise", "id": id, "language": language}
        self._worker.send(header, sound.samples.tobytes())
        try:
            async with asyncio.timeout(WORDS_SECONDS):
                return await waiting
        except TimeoutError:
            raise SpeechTimeout(
                f"The local recogniser did not finish within {WORDS_SECONDS:g} s. Choose a smaller model, or a GPU."
            ) from None
        finally:
            self._waiting = None
            self._quiet_until = loop.time() + _QUIET_SECONDS
            if not waiting.done() or waiting.cancelled():
                self._worker.send({"type": "cancel", "id": id})

    async def _load(self) -> None:
        try:
            await self._worker.start(self._argv, environment(self._env), ROOT)
            async with asyncio.timeout(LOAD_SECONDS):
                await self._loaded.wait()
        except ProcessFailed as error:
            self._failed(
                f"{error.message} Set ENGINE_PYTHON to a Python with torch and transformers."
            )
        except TimeoutError:
            self._failed(f"The speech model was not loaded within {LOAD_SECONDS:g} s.")
            self._worker.kill()

    def _receive(self, message: Message) -> None:
        header: dict[str, Any] = message.header
        match message.type:
            case "failed":
                self._failed(
                    f"The speech model {self._folder.name} could not be loaded ({header['message']})."
                    " Set TRANSCRIPTION_LOCAL_MODEL to the folder of another one."
                )
            case "ready":
                self._ready, self.trouble = True, ""
                log.info("the local recogniser is loaded")
                self._loaded.set()
                self.on_change()
            case _:
                waiting = self._waiting
                if waiting is not None and header["id"] == self._id and not waiting.done():
                    waiting.set_result(message)

    def _failed(self, trouble: str) -> None:
        self._ready, self.trouble = False, trouble
        log.error("the local recogniser does not work", extra={"reason": trouble})
        self._loaded.set()
        self.on_change()

    def _exited(self, status: int) -> None:
        if not self._closed and (self._ready or not self._loaded.is_set()):
            self._failed(
                f"The local recogniser's process ended (status {status}). Start the server again."
            )
        self._ready = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _quiet(self) -> bool:
        """Find whether a line of its log might quote the speech."""
        with suppress(RuntimeError):
            return self._waiting is not None or (
                asyncio.get_running_loop().time() < self._quiet_until
            )
        return True

"""A voice in a process of this program: Qwen3-TTS in an environment that has it (see `worker`)."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from server.core.aio import TaskSet
from server.core.errors import SpeechFailed, SpeechRefused, SpeechTimeout, SpeechUnavailable
from server.engines.speech.voice_worker.streaming import StreamOptions
from server.processes.process import ProcessFailed
from server.processes.wire import Message
from server.processes.worker_process import WorkerProcess, environment
from server.voice.pcm import VoiceChunk

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[3]
# Large weights come from slow disks, and compiling takes minutes.
LOAD_SECONDS = 1800.0
# Between two looks at its state, of which its process tells by itself
PROBE_SECONDS = 3600.0
# To the first sound, and between two chunks: a CPU takes seconds.
FIRST_SECONDS = 60.0
BETWEEN_SECONDS = 60.0
# Sound that waits for its reader; a text that makes more is cancelled.
MOST_WAITING_BYTES = 16 * 1024 * 1024
# The last lines of the log take another pipe than the sound, and come after it.
_QUIET_SECONDS = 1.0


class _Text:
    """The worker's messages on one text, until they are read; one reader."""

    def __init__(self, id: int) -> None:
        self.id = id
        self._waiting: deque[Message | None] = deque()
        self._came = asyncio.Event()
        self._bytes = 0

    def put(self, message: Message | None) -> bool:
        """Add a message, or None for the end of the worker. False when too much waits."""
        if message is not None:
            self._bytes += len(message.payload)
            if self._bytes > MOST_WAITING_BYTES:
                return False
        self._waiting.append(message)
        self._came.set()
        return True

    async def next(self, seconds: float) -> Message | None:
        """Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not self._waiting:
                self._came.clear()
                await self._came.wait()
        message = self._waiting.popleft()
        if message is not None:
            self._bytes -= len(message.payload)
        return message


class LocalVoice:
    """One model in one worker, one text at a time. `start` loads it beside everything else."""

    name = "local"
    # Texts stay on this machine.
    elsewhere = ""

    def __init__(
        self,
        folder: Path,
        python: str,
        *,
        options: str = "",
        voice: str = "",
        env: dict[str, str] | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`options`: see `StreamOptions.read`; `voice`: its name, or a description of it."""
        self._argv = (
            *(python, "-m", "server.engines.speech.voice_worker"),
            *("--model", str(folder), "--options", options, "--voice", voice),
        )
        self._options = options
        self._env = dict(env or {})
        self._on_ready = on_ready
        self._worker = WorkerProcess(
            on_message=self._receive,
            on_line=lambda _line: None,
            on_exit=self._exited,
            quiet=self._quiet,
        )
        self._tasks = TaskSet("voice")
        self._turn = asyncio.Lock()
        self._ids = itertools.count(1)
        self._text: _Text | None = None
        self._loaded = asyncio.Event()
        self._rate = 0
        self._quiet_until = 0.0
        self._started = self._closed = False
        # Why it does not speak, for operators; "" while it does
        self.trouble = "The voice is being loaded."
        # The names of its voices
        self.voices: tuple[str, ...] = ()
        # Deviations from the options
        self.notes: list[str] = []

    @property
    def ready(self) -> bool:
        return self._rate > 0

    def start(self) -> None:
        """Begin to load the model."""
        self._started = True
        self._tasks.spawn(self._load(), name="load")

    async def probe(self) -> float:
        """Load the model, the first time. Returns seconds until the next look."""
        if not self._started:
            self.start()
        return PROBE_SECONDS

    async def wait(self) -> None:
        """Wait until it is loaded. Raises SpeechUnavailable with the reason when it cannot be."""
        await self._loaded.wait()
        if not self.ready:
            raise SpeechUnavailable(self.trouble)

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`."""
        async with self._turn:
            if not self.ready:
                raise SpeechUnavailable(self.trouble)
            self._text = speaking = _Text(next(self._ids))
            self._worker.send(
                {
                    "type": "speak",
                    "id": speaking.id,
                    "text": text,
                    "language": language,
                    "whole": False,
                }
            )
            done = False
            try:
                seconds = FIRST_SECONDS
                while True:
                    message = await speaking.next(seconds)
                    seconds = BETWEEN_SECONDS
                    if message is None:
                        done = True
                        raise SpeechFailed("The voice's process ended while it spoke.")
                    if message.type != "chunk":
                        done = True
                        if message.type == "error":
                            raise SpeechRefused(str(message.header["message"]))
                        return
                    samples = np.frombuffer(message.payload, "<i2").astype(np.int16)
                    if len(samples):
                        yield VoiceChunk(samples, self._rate)
            except TimeoutError:
                raise SpeechTimeout(
                    f"The local voice made no sound for {seconds:g} s. Choose a smaller model, or a GPU."
                ) from None
            finally:
                self._text = None
                self._quiet_until = asyncio.get_running_loop().time() + _QUIET_SECONDS
                if not done:
                    self._worker.send({"type": "cancel", "id": speaking.id})

    async def close(self) -> None:
        """End the worker and its memory. Safe to call twice."""
        self._closed = True
        self._rate = 0
        self.trouble = "The voice was stopped."
        await self._worker.stop()
        await self._tasks.close()

    async def _load(self) -> None:
        try:
            StreamOptions.read(self._options)
        except ValueError as error:
            self._failed(f"{error} Set SPEECH_LOCAL_OPTIONS.")
            return
        try:
            await self._worker.start(self._argv, environment(self._env), ROOT)
            async with asyncio.timeout(LOAD_SECONDS):
                await self._loaded.wait()
        except ProcessFailed as error:
            self._failed(f"{error.message} Set SPEECH_PYTHON to a Python that has qwen-tts.")
        except TimeoutError:
            self._failed(f"The voice was not loaded within {LOAD_SECONDS:g} s.")
            self._worker.kill()

    def _receive(self, message: Message) -> None:
        header = message.header
        match message.type:
            case "note":
                self.notes.append(str(header["text"]))
                log.warning("local voice", extra={"reason": str(header["text"])})
            case "failed":
                self._failed(str(header["message"]))
            case "ready":
                self._rate, self.voices = int(header["rate"]), tuple(header["voices"])
                self.trouble = ""
                log.info("the local voice is loaded")
                self._loaded.set()
                self._on_ready()
            case _:
                text = self._text
                if text is not None and text.id == header["id"] and not text.put(message):
                    self._worker.send({"type": "cancel", "id": text.id})
                    text.put(Message({"type": "error", "message": "The text made too much sound."}))

    def _failed(self, detail: str) -> None:
        self.trouble = detail
        log.error("the local voice does not speak", extra={"reason": detail})
        self._loaded.set()

    def _exited(self, status: int) -> None:
        if not self._closed and self.ready:
            self._failed(f"The voice's process ended (status {status}). Start the server again.")
        elif not self._loaded.is_set():
            self._failed(f"The voice's process ended while it loaded (status {status}).")
        self._rate = 0
        if self._text is not None:
            self._text.put(None)

    def _quiet(self) -> bool:
        """Its log may quote a text that is spoken."""
        with suppress(RuntimeError):
            return self._text is not None or (asyncio.get_running_loop().time() < self._quiet_until)
        return True

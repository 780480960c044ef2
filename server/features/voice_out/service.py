"""The voice that the settings name: how it begins and ends, and what operators see of it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from server.core.aio import TaskSet, supervise
from server.features.voice_out.server_voice import ServerVoice
from server.features.voice_out.settings import VoiceOutSettings
from server.features.voice_out.worker.streaming import StreamOptions
from server.media.sound.pcm import VoiceChunk
from server.shared.processes.wire import Message
from server.shared.speech.errors import SpeechFailed, SpeechRefused, SpeechTimeout
from server.shared.speech.local_worker import SpeechWorker, models_python
from server.shared.speech.speech_server import described

if TYPE_CHECKING:
    from server.app.api import Api


class VoiceService:
    """Owner of the voice of all sessions. `python`: that of the models' environment."""

    def __init__(self, settings: VoiceOutSettings, python: Path | None) -> None:
        # Speaks answers; without one pages do
        self.voice: ServerVoice | LocalVoice | None = None
        self._tasks = TaskSet("voice")
        if settings.speech_local_model is not None:
            self.voice = LocalVoice(
                settings.speech_local_model,
                models_python(settings.speech_python or python),
                options=settings.speech_local_options,
                voice=settings.speech_voice,
            )
        elif settings.speech_base_url:
            self.voice = ServerVoice(
                base_url=settings.speech_base_url,
                api_key=settings.speech_api_key,
                model=settings.speech_model,
                voice=settings.speech_voice,
                socket=settings.speech_socket,
            )

    def seen(self) -> dict[str, Any]:
        """Return what operators see of it."""
        return {"voice": described(self.voice)}

    def start(self) -> None:
        """Load it, or probe its server from now on."""
        if self.voice is not None:
            self._tasks.spawn(supervise(self.voice.probe, name="voice"), name="voice")

    async def close(self) -> None:
        await self._tasks.close()
        if self.voice is not None:
            await self.voice.close()


def add_routes(api: Api, service: VoiceService) -> None:
    router = api.operator_router("/api/operator/speech")

    @router.get("")
    async def seen() -> dict[str, Any]:
        """The models that make words of sound, and sound of words.

        `recogniser` and `voice` of the settings (`name`, `state`: `ready`, `unreachable`, or
        `loading` of a local one, `detail`: a sentence; `null` without one), and `chosen`, a local
        recogniser (`folder`: its name, `state`, `detail`; `null` without one).
        """
        found = {"recogniser": None, "chosen": None} | service.seen()
        if (other := api.find("voice_in")) is not None:
            found |= other.seen()
        return found


# A voice in a process of this program: Qwen3-TTS in an environment that has it (see `worker`).

log = logging.getLogger(__name__)
# Large weights come from slow disks, and compiling takes minutes.
LOAD_SECONDS = 1800.0
# Between two looks at its state, which its process reports by itself
PROBE_SECONDS = 3600.0
# To the first sound, and between two chunks: a CPU takes seconds.
FIRST_SECONDS = 60.0
BETWEEN_SECONDS = 60.0
# Sound that waits for its reader; a text that makes more is cancelled.
MOST_WAITING_BYTES = 16 * 1024 * 1024


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


class LocalVoice(SpeechWorker):
    """One model in one worker, one text at a time. `start` loads it beside everything else.

    Bounds of a local voice's process, sound that waits for its reader: one text at a time; 16
    MiB, then the text is cancelled.
    """

    def __init__(
        self,
        folder: Path,
        python: str,
        *,
        options: str = "",
        voice: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`options`: see `StreamOptions.read`; `voice`: its name, or a description of it."""
        self._options = options
        super().__init__(
            "voice",
            (
                *(python, "-m", "server.features.voice_out.worker"),
                *("--model", str(folder), "--options", options, "--voice", voice),
            ),
            env or {},
            load_seconds=LOAD_SECONDS,
            remedy="Set SPEECH_PYTHON to a Python that has qwen-tts.",
        )
        self._text: _Text | None = None
        self._rate = 0
        self._started = False
        # The names of its voices
        self.voices: tuple[str, ...] = ()
        # Deviations from the options
        self.notes: list[str] = []

    def start(self) -> None:
        """Begin to load the model."""
        self._started = True
        try:
            StreamOptions.read(self._options)
        except ValueError as error:
            self.failed(f"{error} Set SPEECH_LOCAL_OPTIONS.")
            return
        super().start()

    async def probe(self) -> float:
        """Load the model, the first time. Returns seconds until the next look."""
        if not self._started:
            self.start()
        return PROBE_SECONDS

    async def speak(self, text: str, *, language: str | None) -> AsyncGenerator[VoiceChunk, None]:
        """See `Voice.speak`."""
        async with self.turn() as id:
            self._text = speaking = _Text(id)
            self.send({"type": "speak", "id": speaking.id, "text": text, "language": language})
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
                if not done:
                    self.send({"type": "cancel", "id": speaking.id})

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        self._rate, self.voices = int(header["rate"]), tuple(header["voices"])

    def on_message(self, message: Message) -> None:
        if message.type == "note":
            self.notes.append(str(message.header["text"]))
            log.warning("local voice", extra={"reason": str(message.header["text"])})
            return
        text = self._text
        if text is not None and text.id == message.header["id"] and not text.put(message):
            self.send({"type": "cancel", "id": text.id})
            text.put(Message({"type": "error", "message": "The text made too much sound."}))

    def on_end(self) -> None:
        if self._text is not None:
            self._text.put(None)

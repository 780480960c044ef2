"""A voice in a process of this program: Qwen3-TTS in an environment that has it (see `worker`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from server.features.voice_out.worker.streaming import StreamOptions
from server.media.sound.pcm import VoiceChunk
from server.shared.processes.wire import Message
from server.shared.speech.errors import SpeechFailed, SpeechRefused, SpeechTimeout
from server.shared.speech.local_worker import SpeechWorker

log = logging.getLogger(__name__)
# Large weights come from slow disks, and compiling takes minutes.
LOAD_SECONDS = 1800.0
# Between two looks at its state, which its process reports by itself
PROBE_SECONDS = 3600.0
# To the first sound, and between two chunks: a CPU takes seconds.
CHUNK_SECONDS = 60.0


class LocalVoice(SpeechWorker):
    """One model in one worker, one text at a time. `start` loads it beside everything else.

    Bounds of a local voice's process: one text at a time.
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
        now = asyncio.get_running_loop().time
        asked = {"type": "speak", "text": text, "language": language}
        try:
            async with self.job(asked) as job:
                while True:
                    message = await job.next(now() + CHUNK_SECONDS)
                    if message is None:
                        raise SpeechFailed("The voice's process ended while it spoke.")
                    if message.type == "error":
                        raise SpeechRefused(str(message.header["message"]))
                    if message.type == "end":
                        return
                    samples = np.frombuffer(message.payload, "<i2").astype(np.int16)
                    if len(samples):
                        yield VoiceChunk(samples, self._rate)
        except TimeoutError:
            raise SpeechTimeout(
                f"The local voice made no sound for {CHUNK_SECONDS:g} s. Choose a smaller model, or a GPU."
            ) from None

    def on_loaded(self, header: Mapping[str, Any]) -> None:
        self._rate, self.voices = int(header["rate"]), tuple(header["voices"])

    def on_message(self, message: Message) -> None:
        if message.type == "note":
            self.notes.append(str(message.header["text"]))
            log.warning("local voice", extra={"reason": str(message.header["text"])})

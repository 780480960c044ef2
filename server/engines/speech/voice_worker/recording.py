"""The recording whose voice is copied: a WAV file of the operator's, and its words beside it."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from server.engines.speech.voice_worker.streaming import Floats

LEAST_SECONDS, MOST_SECONDS = 1, 30
_MOST_WORDS = 1000
_WANTED = (
    f"Set SPEECH_VOICE to a WAV file (16 bits, {LEAST_SECONDS} to {MOST_SECONDS} s) of somebody who agreed to it; with "
    "its words in a text file of the same name beside it (anna.wav, anna.txt) the copy is closer."
)


class RecordingError(Exception):
    """There is no recording that can be used; the message is for the operator's log.

    Outside the server's tree of errors: it stays in the worker's process.
    """


@dataclass(frozen=True, slots=True)
class Recording:
    samples: Floats
    rate: int
    # What is said; "" where nothing tells
    words: str

    @classmethod
    def read(cls, voice: str) -> Self:
        """Read the file and its words. Raises RecordingError."""
        if not voice:
            raise RecordingError(_WANTED)
        path = Path(voice)
        try:
            path = path.expanduser()
            with wave.open(str(path), "rb") as file:
                rate, channels = file.getframerate(), file.getnchannels()
                if file.getsampwidth() != 2 or channels not in (1, 2):
                    raise RecordingError(
                        f"{path} is no WAV file of 16 bits, mono or stereo. {_WANTED}"
                    )
                seconds = file.getnframes() / rate
                if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
                    raise RecordingError(f"{path} has {seconds:.1f} s. {_WANTED}")
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            text = path.with_suffix(".txt")
            words = text.read_text("utf-8") if text.is_file() else ""
        except (OSError, EOFError, RuntimeError, ValueError, wave.Error) as error:
            raise RecordingError(f"{path} cannot be read ({error}). {_WANTED}") from None
        words = " ".join(words.split())
        if len(words) > _MOST_WORDS:
            raise RecordingError(
                f"{text} has {len(words):,} characters; at most {_MOST_WORDS:,} are used. {_WANTED}"
            )
        mono = samples.reshape(-1, channels).mean(axis=1, dtype=np.float32) / 32768
        return cls(mono.astype(np.float32), rate, words)

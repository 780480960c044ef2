"""Speech detection: Silero's model (MIT, server/features/voice_in/models/), run by onnxruntime.

One model serves all microphones; each has a `SpeechDetector` with its own state. 32 ms of sound
take 0.06 ms of one core; lasting digital silence takes no inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.core.sound import SOUND_RATE, Sound
from server.shared.onnx_file import load_session

MODEL = Path(__file__).parent / "models" / "silero_vad_16k_sequence.onnx"
# Fixed by the model: samples of a chunk, and samples of the previous chunk in front of it
CHUNK = 512
_CONTEXT = 64
_STATE = (1, 1, 128)
Samples = NDArray[np.float32]
State = tuple[Samples, Samples]
CHUNK_SECONDS = CHUNK / SOUND_RATE
# Level of digital silence, dBFS
SILENCE_DB = -96.0
# Skip the model after this many chunks with no higher peak (16-bit samples): less than a microphone's
# own noise, and the silence that replaces sound which was never sent.
_QUIET_PEAK, _QUIET_CHUNKS = 16, 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """Result of the detector for 32 ms of sound."""

    # Time of its first sample, monotonic seconds
    at: float
    # Likelihood of speech, 0 to 1
    speech: float
    # Root mean square, dBFS
    level: float

    @property
    def end(self) -> float:
        return self.at + CHUNK_SECONDS


class SpeechModel:
    """Stateless network, one for the process, loaded with the first sound. Thread-safe.

    It takes about 30 MiB with its library. Raises ModuleNotFoundError without onnxruntime.
    """

    def __init__(self) -> None:
        if find_spec("onnxruntime") is None:
            # Raised at start, where a feature without its packages is switched off.
            raise ModuleNotFoundError("onnxruntime is not installed", name="onnxruntime")

    @cached_property
    def _session(self) -> Any:
        return load_session(MODEL)

    def run(self, chunk: Samples, state: State) -> tuple[float, State]:
        """Return a chunk's likelihood of speech (0 to 1) and the next state. `chunk`: float32, (1, 576)."""
        speech, h, c = self._session.run(None, {"input": chunk, "h": state[0], "c": state[1]})
        return float(speech[0]), (h, c)


def _make_empty_state() -> State:
    return np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)


class SpeechDetector:
    """Speech detector of one microphone. Only one thread at a time may call it."""

    def __init__(self, model: SpeechModel) -> None:
        self._model = model
        self._state = _make_empty_state()
        # The last samples of the previous chunk, then those that do not fill a chunk yet
        self._rest = np.zeros(_CONTEXT, np.int16)
        # Consecutive newest chunks without sound
        self._quiet = 0

    def feed(self, sound: Sound) -> list[Chunk]:
        """Return the chunks completed by this sound, which follows the previous one without a gap."""
        since = sound.captured - (len(self._rest) - _CONTEXT) / SOUND_RATE
        samples = np.concatenate([self._rest, sound.samples])
        count = (len(samples) - _CONTEXT) // CHUNK
        self._rest = samples[count * CHUNK :]
        if not count:
            return []
        levels = _measure_levels(samples[_CONTEXT : _CONTEXT + count * CHUNK].reshape(count, CHUNK))
        return [
            Chunk(
                since + number * CHUNK_SECONDS,
                self._get_likelihood(samples[number * CHUNK : (number + 1) * CHUNK + _CONTEXT]),
                float(level),
            )
            for number, level in enumerate(levels)
        ]

    def _get_likelihood(self, chunk: NDArray[np.int16]) -> float:
        """Return the likelihood of speech, 0 to 1. `chunk`: 576 samples, the first 64 its context."""
        quiet = max(int(chunk.max()), -int(chunk.min())) <= _QUIET_PEAK
        self._quiet = self._quiet + 1 if quiet else 0
        if self._quiet > _QUIET_CHUNKS:
            self._state = _make_empty_state()
            return 0.0
        speech, self._state = self._model.run(
            np.divide(chunk[None], 32768, dtype=np.float32), self._state
        )
        return speech


def _measure_levels(chunks: NDArray[np.int16]) -> NDArray[np.float64]:
    """Return the level of each row in dBFS. `chunks`: (n, 512)."""
    power = (chunks.astype(np.float64) ** 2).mean(1) / 32768**2
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 1e-12))
    return np.maximum(SILENCE_DB, levels)


# Onsets of sounds above the constant background: a bark, a bell, a crash. The background estimate
# rises slowly and falls quickly, so that a fan or rain becomes part of it.

# A sound is at least this far above the background (dB), this loud (dBFS) and this long (chunks).
_ABOVE_DB = 12.0
_LEAST_DB = -50.0
_CHUNKS = 3
# Maximum change of the background, decibels per second
_UP_DB, _DOWN_DB = 2.0, 30.0
# Minimum silence between two sounds, seconds
_QUIET_SECONDS = 1.0


class OnsetDetector:
    """Detector of sound onsets at one microphone. Speech counts as a sound, too."""

    def __init__(self) -> None:
        # dBFS; None before the first chunk
        self._background: float | None = None
        # Consecutive chunks above the background
        self._loud = 0
        # End of the last sound, monotonic seconds; None before the first
        self._last: float | None = None

    def is_onset(self, chunk: Chunk) -> bool:
        """Return True once for each sound, as soon as it is long enough."""
        if self._background is None:
            self._background = chunk.level
            return False
        out = chunk.level >= max(_LEAST_DB, self._background + _ABOVE_DB)
        step = chunk.level - self._background
        self._background += min(_UP_DB * CHUNK_SECONDS, max(-_DOWN_DB * CHUNK_SECONDS, step))
        self._loud = self._loud + 1 if out else 0
        apart = self._last is None or chunk.at - self._last >= _QUIET_SECONDS
        if self._loud < _CHUNKS:
            return False
        self._last = chunk.end
        return apart

"""End-of-turn model by onnxruntime: smart-turn v3 and similar models.

Its input is the `log_mel` spectrogram of the last 8 s of a turn, its output the likelihood that the
turn is complete. The program includes no such model: an operator sets the file and its checksum.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from server.core.metrics import Metrics
from server.core.sound import SOUND_RATE
from server.shared.onnx_file import ModelTrouble, ModelUnusable, load_session

log = logging.getLogger(__name__)
# Likelihood from which a turn is complete, as in smart-turn
_COMPLETE = 0.5


class TurnModel:
    """Stateless network, one for the process. Thread-safe."""

    def __init__(self, path: Path, sha256: str) -> None:
        """Load a file after verifying its checksum. Raises ModelUnusable."""
        self._session = load_session(path, sha256)
        self._input = _get_input_name(self._session)
        try:
            self.measure_likelihood(np.zeros(0, np.int16))
        except Exception:  # noqa: BLE001
            raise ModelUnusable(ModelTrouble.OTHER_FORM) from None

    def is_complete(self, samples: NDArray[np.int16]) -> bool:
        """Return True if a turn with this sound (16 kHz) is complete. Raises ValueError and onnxruntime's errors."""
        return self.measure_likelihood(samples) >= _COMPLETE

    def measure_likelihood(self, samples: NDArray[np.int16]) -> float:
        """Return the likelihood that a turn is complete, 0 to 1. Raises the errors of `complete`."""
        spectrogram = log_mel(samples)[None]
        outputs = self._session.run(None, {self._input: spectrogram})
        found = float(np.asarray(outputs[0], np.float32).reshape(()))
        if not math.isfinite(found) or not 0 <= found <= 1:
            raise ValueError("the model gave no likelihood")
        return found


def _get_input_name(model: Any) -> str:
    """Return the name of the only input. Raises ModelUnusable for another shape; open dimensions are allowed."""
    inputs, outputs = model.get_inputs(), model.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type != "tensor(float)":
        raise ModelUnusable(ModelTrouble.OTHER_FORM)
    shape = inputs[0].shape
    fits = len(shape) == 3 and all(
        not isinstance(has, int) or has == wanted
        for has, wanted in zip(shape, (1, MELS, FRAMES), strict=True)
    )
    if not fits:
        raise ModelUnusable(ModelTrouble.OTHER_FORM)
    return str(inputs[0].name)


# Log-mel spectrogram for Whisper's encoder: 80 bands, one column per 10 ms. Same as transformers'
# `WhisperFeatureExtractor` with `do_normalize`, for 8 s, in numpy. Pure.

Floats = NDArray[np.float32]
# Sound of one spectrogram; shorter sound is padded with silence in front.
SPECTROGRAM_SECONDS = 8
MELS, FRAMES = 80, 100 * SPECTROGRAM_SECONDS
_SAMPLES = SPECTROGRAM_SECONDS * SOUND_RATE
_FFT, _HOP = 400, 160
# Slaney's mel scale: linear below 1,000 Hz, logarithmic above
_EVEN_HZ, _BREAK_HZ, _STEP = 200 / 3, 1000.0, np.log(6.4) / 27
_BREAK_MEL = _BREAK_HZ / _EVEN_HZ


def log_mel(samples: NDArray[np.int16]) -> Floats:
    """Return the spectrogram, (80, 800), of the last 8 s of `samples`, 16 kHz."""
    samples = samples[-_SAMPLES:]
    sound = np.zeros(_SAMPLES, np.float32)
    if len(samples):
        sound[-len(samples) :] = samples / np.float32(32768)
    # Mean 0 and variance 1, the silence in front included
    sound -= sound.mean()
    sound /= np.sqrt(sound.var() + 1e-7)
    around = np.pad(sound, _FFT // 2, mode="reflect")
    # The frame that begins at the end is omitted.
    frames = np.lib.stride_tricks.sliding_window_view(around, _FFT)[: FRAMES * _HOP : _HOP]
    spectrum = np.fft.rfft(frames * _make_window())
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.empty((MELS, FRAMES), np.float32)
    # Band by band: a matrix product would start the threads of numpy's BLAS, which take three times
    # the processor time.
    for band, (first, weights) in enumerate(_make_filters()):
        (power[:, first : first + len(weights)] * weights).sum(1, out=bands[band])
    logs = np.log10(np.maximum(bands, 1e-10))
    found: Floats = (np.maximum(logs, logs.max() - 8) + 4) / 4
    return found.astype(np.float32, copy=False)


@functools.cache
def _make_window() -> Floats:
    """Return a periodic Hann window."""
    return np.hanning(_FFT + 1)[:-1].astype(np.float32)


@functools.cache
def _make_filters() -> list[tuple[int, Floats]]:
    """Return for each band its first FFT bin and the weights from there, area-normalised."""
    most = _BREAK_MEL + np.log(SOUND_RATE / 2 / _BREAK_HZ) / _STEP
    edges = _to_hertz(np.linspace(0, most, MELS + 2))
    bins = np.linspace(0, SOUND_RATE / 2, _FFT // 2 + 1)
    low, middle, high = (edges[begin : begin + MELS, None] for begin in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    found = []
    for weights in np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low):
        used = np.flatnonzero(weights)
        found.append((int(used[0]), weights[used[0] : used[-1] + 1].astype(np.float32)))
    return found


def _to_hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    loud = _BREAK_HZ * np.exp(_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _EVEN_HZ, loud)


# Checks running in all sessions: as many as one thread completes within `ANSWER_SECONDS`
MOST_CHECKS = 3
# Time limit of a check, seconds
ANSWER_SECONDS = 0.3


def make_turn_checks_counter(metrics: Metrics) -> Counter:
    # result: complete, incomplete, unused, busy, slow, failed
    return metrics.counter(
        "turn_checks_total",
        "Pauses checked by the end-of-turn model, by result",
        "result",
    )


class TurnJudge:
    """Runs the model in a thread. Call `begin` and `note` on one thread."""

    def __init__(self, model: TurnModel, pool: ThreadPoolExecutor, metrics: Metrics) -> None:
        self._model = model
        self._pool = pool
        self._checks = make_turn_checks_counter(metrics)
        self._free = threading.BoundedSemaphore(MOST_CHECKS)
        # True after a logged failure or timeout, until a check succeeds
        self._troubled = False

    def begin(self, samples: NDArray[np.int16]) -> Future[bool] | None:
        """Start a check of a turn's sound (16 kHz). Return None if too many are running."""
        if not self._free.acquire(blocking=False):
            return None
        try:
            check = self._pool.submit(self._model.is_complete, samples)
        except RuntimeError:
            # The pool is shut down: the program is ending.
            self._free.release()
            return None
        check.add_done_callback(lambda _: self._free.release())
        return check

    def note(self, result: str, error: BaseException | None = None) -> None:
        """Count the result of a check: complete, incomplete, unused, busy, slow or failed."""
        self._checks.labels(result).inc()
        if result in ("complete", "incomplete"):
            if self._troubled:
                log.info("end-of-turn model recovered")
            self._troubled = False
        elif result != "unused" and not self._troubled:
            self._troubled = True
            if error is None:
                log.warning(
                    "end-of-turn model too slow",
                    extra={"reason": result},
                )
            else:
                log.warning(
                    "end-of-turn model failed",
                    extra={"error": type(error).__name__},
                )

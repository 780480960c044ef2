"""The log-mel spectrogram that Whisper's encoder takes: 80 bands, a column for each 10 ms.

As Whisper's own, for 8 s: transformers' `WhisperFeatureExtractor` with `do_normalize`, in numpy. Pure.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from server.core.sound import SOUND_RATE

Floats = NDArray[np.float32]
# Sound of one spectrogram; shorter sound has silence in front.
SPECTROGRAM_SECONDS = 8
MELS, FRAMES = 80, 100 * SPECTROGRAM_SECONDS
_SAMPLES = SPECTROGRAM_SECONDS * SOUND_RATE
_FFT, _HOP = 400, 160
# Slaney's mel scale: even below 1,000 Hz, logarithmic above
_EVEN_HZ, _BREAK_HZ, _STEP = 200 / 3, 1000.0, np.log(6.4) / 27
_BREAK_MEL = _BREAK_HZ / _EVEN_HZ


def log_mel(samples: NDArray[np.int16]) -> Floats:
    """Return the spectrogram, (80, 800), of the last 8 s of 16 kHz sound."""
    samples = samples[-_SAMPLES:]
    sound = np.zeros(_SAMPLES, np.float32)
    if len(samples):
        sound[-len(samples) :] = samples / np.float32(32768)
    # Mean 0 and variance 1, the silence in front included
    sound -= sound.mean()
    sound /= np.sqrt(sound.var() + 1e-7)
    around = np.pad(sound, _FFT // 2, mode="reflect")
    # The frame that begins at the end is left out.
    frames = np.lib.stride_tricks.sliding_window_view(around, _FFT)[: FRAMES * _HOP : _HOP]
    spectrum = np.fft.rfft(frames * _window())
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.empty((MELS, FRAMES), np.float32)
    # One band after the other: a product of whole matrices would wake the threads of numpy's
    # library, which take three times as much of the processor.
    for band, (first, weights) in enumerate(_filters()):
        (power[:, first : first + len(weights)] * weights).sum(1, out=bands[band])
    logs = np.log10(np.maximum(bands, 1e-10))
    found: Floats = (np.maximum(logs, logs.max() - 8) + 4) / 4
    return found.astype(np.float32, copy=False)


@functools.cache
def _window() -> Floats:
    """Return Hann's window, periodic."""
    return np.hanning(_FFT + 1)[:-1].astype(np.float32)


@functools.cache
def _filters() -> list[tuple[int, Floats]]:
    """Return for each band its first frequency and the weights from there; all have the same area."""
    edges = _hertz(np.linspace(0, _mel(SOUND_RATE / 2), MELS + 2))
    bins = np.linspace(0, SOUND_RATE / 2, _FFT // 2 + 1)
    low, middle, high = (edges[begin : begin + MELS, None] for begin in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    found = []
    for weights in np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low):
        used = np.flatnonzero(weights)
        found.append((int(used[0]), weights[used[0] : used[-1] + 1].astype(np.float32)))
    return found


def _mel(hertz: float) -> float:
    return float(_BREAK_MEL + np.log(hertz / _BREAK_HZ) / _STEP)


def _hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    loud = _BREAK_HZ * np.exp(_STEP * (mels - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _EVEN_HZ, loud)

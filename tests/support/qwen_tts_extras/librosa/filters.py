"""Stands in for librosa.filters."""

from typing import Any

import numpy as np


def mel(*, sr: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> Any:
    """Bands of equal width: tiny models have random weights, so no scale is the right one."""
    line = np.linspace(0, sr / 2, n_fft // 2 + 1)
    edges = np.linspace(fmin, fmax, n_mels + 1)
    inside = (line >= edges[:-1, None]) & (line < edges[1:, None])
    return inside / np.maximum(inside.sum(axis=1, keepdims=True), 1)

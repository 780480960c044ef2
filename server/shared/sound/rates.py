"""Conversion of sound to another sampling rate."""

from __future__ import annotations

import av
import numpy as np
from numpy.typing import NDArray


class RateConverter:
    """Converts one stream of sound to a fixed rate."""

    def __init__(self, rate: int) -> None:
        """`rate`: of the result, samples a second."""
        self.rate = rate
        self._resampler: tuple[int, av.AudioResampler] | None = None

    def convert(self, samples: NDArray[np.int16], rate: int) -> NDArray[np.int16]:
        """Return the next piece of sound. `samples`: mono, shape (n,), at `rate` samples a second."""
        if rate == self.rate or not len(samples):
            return samples
        if self._resampler is None or self._resampler[0] != rate:
            self._resampler = rate, av.AudioResampler(format="s16", layout="mono", rate=self.rate)
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[np.newaxis]), format="s16", layout="mono"
        )
        frame.sample_rate = rate
        return _joined(self._resampler[1].resample(frame))

    def end(self) -> NDArray[np.int16]:
        """Return the samples that the converter still has, and start over."""
        resampler, self._resampler = self._resampler, None
        return _joined(resampler[1].resample(None) if resampler is not None else [])


def _joined(frames: list[av.AudioFrame]) -> NDArray[np.int16]:
    made = [one.to_ndarray()[0] for one in frames]
    return np.concatenate(made) if made else np.zeros(0, np.int16)

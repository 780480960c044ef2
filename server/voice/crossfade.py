"""Join the chunks of a voice so that nothing clicks at their borders. Pure.

Decoders of speech models make their sound chunk by chunk, and the samples on both sides of a border
need not meet. A chunk that begins with a step is bent to meet the one before it; one that goes on
smoothly is left as it is, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Samples over which a border is bent (4 ms at 24 kHz), and over which an utterance begins and ends
FADE = 96
# A border is a step when it is so many times the largest change of slope around it ...
_STEP = 2.0
# ... and at least so large, of 32,768
_LEAST_STEP = 128

Samples = NDArray[np.int16]


class CrossFade:
    """Joins the chunks of one utterance. Keeps the last `FADE` samples back, to fade them out."""

    def __init__(self) -> None:
        # The samples that were not returned yet, after the last two that were
        self._kept = np.zeros(0, np.int16)
        self._begun = False

    def add(self, samples: Samples) -> Samples:
        """Return what can be played now. `samples`: mono, shape (samples,)."""
        if not len(samples):
            return samples
        if not self._begun:
            self._begun = True
            samples = _faded_in(samples)
        joined = np.concatenate([self._kept, bent(self._kept, samples)])
        self._kept = joined[-FADE:]
        return joined[:-FADE]

    def end(self) -> Samples:
        """Return the rest, faded out."""
        kept, self._kept = self._kept, np.zeros(0, np.int16)
        return _faded_in(kept[::-1])[::-1]


def bent(before: Samples, after: Samples) -> Samples:
    """Return `after`, bent at its beginning to go on from `before` if there is a step between."""
    if len(before) < 3 or len(after) < 3:
        return after
    last, head = before[-FADE:].astype(np.float32), after[:FADE].astype(np.float32)
    # The next sample as the slope so far has it
    step = float(head[0] - (2 * last[-1] - last[-2]))
    usual = max(float(np.abs(np.diff(side, 2)).max()) for side in (last, head))
    if abs(step) < max(_LEAST_STEP, _STEP * usual):
        return after
    result = after.copy()
    result[: len(head)] = _whole(head - step * (1 - _rising(len(head))))
    return result


def _faded_in(samples: Samples) -> Samples:
    count = min(len(samples), FADE)
    result = samples.copy()
    result[:count] = _whole(samples[:count] * _rising(count))
    return result


def _rising(count: int) -> NDArray[np.float32]:
    """Return weights from 0 to 1: half a cosine wave, which has no corner at its ends."""
    wave = np.cos(np.linspace(0, np.pi, count, dtype=np.float32))
    return ((1 - wave) / 2).astype(np.float32)


def _whole(samples: NDArray[np.float32]) -> Samples:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)

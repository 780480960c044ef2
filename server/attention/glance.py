"""Glances at the frames between two looks, at a tenth of a look's cost: is an early look worth it?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from server.attention.evidence import Activity
from server.attention.scratch import F32
from server.vision.luma import luma_plane

if TYPE_CHECKING:
    import av

# The picture in cells of 40×40 px at 1280×720, of which each eighth row is read.
_ROWS, _COLUMNS, _EVERY = 18, 32, 8
# Cells over their threshold: grey levels, or so many learned deviations
_CELLS, _LEAST, _DEVIATIONS = 3, 5.0, 4.0
# Early looks at once, seconds until one more, and least seconds between two. With two looks a second
# beside them there is one in 0.4 s on average at most.
_MOST, _SECONDS, _APART = 3.0, 2.0, 0.15


class Glance:
    """One camera's glances. Holds 12 kB. One caller at a time; `now` is the frame's capture time.

    Bounds of early looks at frames between two samples, which watches take: three at once, then
    one in two seconds; others wait for the next sample.
    """

    def __init__(self) -> None:
        shape = (_ROWS, _COLUMNS)
        self._usual = Activity(shape, first=1.0, least=0.4, jump=1.0, seconds=2.0)
        self._work: tuple[F32, F32] = (np.zeros(shape, np.float32), np.zeros(shape, np.float32))
        # The cells of the last look; None before it
        self._seen: F32 | None = None
        self._looked = self._early = -math.inf
        self._left, self._left_at = _MOST, -math.inf

    def looked(self, image: av.VideoFrame, now: float) -> None:
        """Take the frame of a look: later ones are compared with it."""
        self._seen = cells = _cells(image)
        passed = min(0.5, max(0.02, now - self._looked))
        self._usual.learn(cells, passed, *self._work)
        self._looked = now

    def differs(self, image: av.VideoFrame, now: float) -> bool:
        """Return True when a frame deserves an early look, which counts as one."""
        if self._seen is None or now - self._early < _APART:
            return False
        left = min(_MOST, self._left + (now - self._left_at) / _SECONDS)
        if left < 1:
            return False
        cells = _cells(image)
        difference = cells - self._seen
        # The light of the whole picture is no change of a part.
        difference -= np.median(difference)
        threshold = np.maximum(_DEVIATIONS * self._usual.level, _LEAST)
        if np.count_nonzero(np.abs(difference) > threshold) < _CELLS:
            return False
        self._seen, self._early = cells, now
        self._left, self._left_at = left - 1, now
        return True


def _cells(image: av.VideoFrame) -> F32:
    rows = luma_plane(image)[::_EVERY]
    small = cv2.resize(rows, (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)

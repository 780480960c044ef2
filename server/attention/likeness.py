"""Find whether two frames show the same in every detail, so that one picture serves for both.

The change gate forgives a shaking hand and small things, which is right for work that nobody asked for. A question may be
about the smallest thing in sight; here a digit that changes on a display is enough, and a moving camera always is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from server.attention.planes import chroma_planes
from server.attention.scratch import U8
from server.vision.luma import luma_plane

if TYPE_CHECKING:
    import av

# Pixels of the frame that become one here, in each direction; blocks are two of these wide.
_SHRINK = 4
# A block of 8 px differs when its mean does by so many times as much as 95 % of all blocks do, within these bounds in grey
# levels. Measured on clips through a VP8 encoder: still scenes with noise of 2 to 15 reach 4.2 times; one digit of an LCD with
# a contrast of 30 five times.
_TIMES = 4.5
_LEAST = 8.0
_MOST = 16.0
# With a larger difference of 95 % of all blocks the camera moves or the light has changed.
_RESTLESS = 5.0


class Likeness:
    """The small planes of one frame (90 kB at 1280×720; 350 kB in detail)."""

    def __init__(self, image: av.VideoFrame, *, detail: bool = False) -> None:
        """`detail`: blocks of half the size, for questions about small print; noise then counts as a difference more often.

        Raises ValueError for a pixel format without a luma plane of bytes.
        """
        planes = (luma_plane(image), *(chroma_planes(image) or ()))
        self._size = (image.width, image.height)
        shrink = _SHRINK // 2 if detail else _SHRINK
        self._planes = tuple(_shrunk(plane, shrink) for plane in planes)

    def alike(self, other: Likeness) -> bool:
        """Return True when no block of 8 px differs by more than noise does; of color, 16 px."""
        if self._size != other._size or len(self._planes) != len(other._planes):
            return False
        if any(
            one.shape != two.shape for one, two in zip(self._planes, other._planes, strict=True)
        ):
            return False
        return all(map(_alike, self._planes, other._planes))


def _shrunk(plane: U8, shrink: int) -> U8:
    height, width = plane.shape
    size = max(1, width // shrink), max(1, height // shrink)
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)


def _alike(one: U8, other: U8) -> bool:
    difference = cv2.subtract(one, other, dtype=cv2.CV_32F)
    means = np.abs(cv2.blur(difference, (2, 2)))
    usual = float(np.quantile(means[::2, ::2], 0.95))
    if usual > _RESTLESS:
        return False
    return float(means.max()) <= min(_MOST, max(_LEAST, _TIMES * usual))

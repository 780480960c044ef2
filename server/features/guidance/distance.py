"""The distance of a thing, by its size in the picture, where things of its kind are all about as large. Pure.

Only things that look as large from each side have a size: those that stand, and round ones.
"""

from __future__ import annotations

import math

from server.features.guidance.goal import Edges
from server.features.guidance.heading import LYING, UPRIGHT

# Metres of the longest side, by the detector's names
_SIZES = {
    "apple": 0.08,
    "backpack": 0.45,
    "bottle": 0.25,
    "bowl": 0.16,
    "chair": 0.9,
    "cup": 0.1,
    "donut": 0.09,
    "fire hydrant": 0.75,
    "microwave": 0.5,
    "orange": 0.08,
    "oven": 0.7,
    "refrigerator": 1.7,
    "stop sign": 0.75,
    "suitcase": 0.65,
    "toaster": 0.3,
    "toilet": 0.75,
    "wine glass": 0.2,
}
# A box this near to an edge may be cut off there, as a share of the side.
_EDGE = 0.01


def metres(name: str, box: Edges, ratio: float) -> float | None:
    """Return about how far away it is; None where its size is not known, or not all of it is seen.

    `ratio`: the picture's height by its width. The camera's field of view is taken to be that of a scan.
    """
    size = _SIZES.get(name)
    left, top, right, bottom = box
    if size is None or min(left, top) < _EDGE or max(right, bottom) > 1 - _EDGE:
        return None
    share = max(right - left, (bottom - top) * ratio)
    field = UPRIGHT if ratio > 1 else LYING
    return round(size / (2 * math.tan(math.radians(field / 2)) * max(share, 1e-3)), 2)

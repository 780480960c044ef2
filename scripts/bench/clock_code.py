"""A clock in a camera's picture: the low 32 bits of the epoch in milliseconds, as black and white blocks.

Two rows across the top ninth of the picture: bits, most significant first, white for 1, and below
them their complement. Everything is relative to the picture's size, so that it can be read after any
resize. A time is returned only if each block is the clear opposite of the one below it, so that a
torn, blurred or missing clock reads as None.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BITS = 32
# Height of both rows, as a fraction of the picture's height: 80 of 720 lines
HEIGHT = 1 / 9
# Minimum difference of mean luma (of 255) between a block and its complement; undamaged blocks differ
# by 219 or more.
MIN_CONTRAST = 64

Pixels = NDArray[np.uint8]

_SHIFTS = np.arange(BITS - 1, -1, -1, dtype=np.uint64)
_WEIGHTS = np.uint64(1) << _SHIFTS


def draw(frame: Pixels, ms: int) -> None:
    """Draw `ms` (its low 32 bits) into `frame`, in place: BGR or RGB (h, w, 3), or luma (h, w)."""
    height, width = frame.shape[:2]
    row = max(1, round(height * HEIGHT / 2))
    bits = (np.uint64(ms & 0xFFFFFFFF) >> _SHIFTS) & np.uint64(1)
    # The block of each column: the same rule as in benchmarks/canvas_camera.js.
    line = (bits[np.arange(width) * BITS // width] * np.uint64(255)).astype(np.uint8)
    if frame.ndim == 3:
        line = line[:, None]
    frame[:row] = line
    frame[row : 2 * row] = 255 - line


def read(frame: Pixels) -> int | None:
    """Return the low 32 bits shown in BGR, RGB or luma; None if bits and complement disagree."""
    if frame.ndim not in (2, 3) or frame.shape[0] < 18 or frame.shape[1] < 2 * BITS:
        return None
    top = frame[: round(frame.shape[0] * HEIGHT)]
    luma: NDArray[Any] = top.mean(axis=2) if top.ndim == 3 else top
    height, width = luma.shape
    # The middle half of each block, away from edges that resizing and coding have mixed.
    columns = [
        luma[:, int((i + 0.25) * width / BITS) : max(1, int((i + 0.75) * width / BITS))]
        for i in range(BITS)
    ]
    upper, lower = (
        slice(height // 8, height * 3 // 8 + 1),
        slice(height * 5 // 8, height * 7 // 8 + 1),
    )
    difference = np.array([c[upper].mean() - c[lower].mean() for c in columns])
    if not (np.abs(difference) >= MIN_CONTRAST).all():
        return None
    return int(((difference > 0) * _WEIGHTS).sum())


def compute_age_ms(shown: int, now_ms: float) -> float:
    """Return the age of a clock's time at `now_ms` (epoch), in ms; negative if ahead. Valid for 24 days."""
    difference = (int(now_ms) - shown) & 0xFFFFFFFF
    if difference >= 0x80000000:
        difference -= 0x100000000
    return difference + now_ms % 1

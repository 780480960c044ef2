"""Working memory of a look at a frame, shared by all cameras."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

# Blocks of a picture: 8×8 px each at 1280×720, so many that noise and coding hardly move the mean.
WIDTH = 160
HEIGHT = 90
SIZE = WIDTH * HEIGHT

# Bytes of the first and second halving of 1920×1080; larger pictures get temporaries of their own.
_HALVED = 960 * 540
_QUARTERED = 480 * 270


class Scratch:
    """Arrays (2 MB) that each look overwrites before reading; nothing in them outlives it.

    A look holds `lock`, so looks of several threads take turns. A new temporary of 57 kB costs
    32 µs, one of these 1.5.

    Bounds of working memory of looks: 2 MB; a look holds its lock, and another thread waits for
    it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._first: U8 = np.zeros(_HALVED, np.uint8)
        self._second: U8 = np.zeros(_QUARTERED, np.uint8)
        # (90, 160): the look, blurred, warped onto the reference; its differences; work
        self.luma, self.blurred, self.warped = _full(), _full(), _full()
        self.difference, self.strength, self.threshold = _full(), _full(), _full()
        self.a, self.b = _full(), _full()
        self.hot: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        self.bytes_a: U8 = np.zeros((HEIGHT, WIDTH), np.uint8)
        # (2, 45, 80)
        self.chroma, self.chroma_warped = _pair(), _pair()
        self.chroma_difference, self.chroma_strength, self.chroma_threshold = (
            _pair(),
            _pair(),
            _pair(),
        )
        self.chroma_a, self.chroma_b = _pair(), _pair()
        # (180, 320)
        self.fine_warped: U8 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.uint8)
        self.fine_difference: F32 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.float32)
        self.fine_square: F32 = np.zeros((2 * HEIGHT, 2 * WIDTH), np.float32)
        # (45, 80)
        self.coarse, self.coarse_blurred = _half(), _half()
        self.mean, self.deviation, self.limit, self.half = _half(), _half(), _half(), _half()

    def halved(self, height: int, width: int, first: bool) -> U8:
        """Return an array for a halved plane; the plane to halve is in the other one."""
        flat = self._first if first else self._second
        size = height * width
        if size > flat.size:
            return np.empty((height, width), np.uint8)
        return flat[:size].reshape(height, width)


def clip(values: F32, bound: float, target: F32) -> F32:
    """Limit values to plus and minus a bound; a third of the time of a minimum and a maximum."""
    return np.clip(values, -bound, bound, out=target)


def _full() -> F32:
    return np.zeros((HEIGHT, WIDTH), np.float32)


def _half() -> F32:
    return np.zeros((HEIGHT // 2, WIDTH // 2), np.float32)


def _pair() -> F32:
    return np.zeros((2, HEIGHT // 2, WIDTH // 2), np.float32)

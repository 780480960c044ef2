"""A room all around a camera, as tests draw it: grey patterns from a seed, that a pinhole of 60 degrees sees."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
WIDTH, HEIGHT = 320, 180
_DEGREE = 6


class Panorama:
    """Degrees are to the right."""

    def __init__(self, seed: int, *, plain: bool = False) -> None:
        noise = np.random.default_rng(seed)
        wall: NDArray[np.float32] = np.full((340, 360 * _DEGREE), 120, np.float32)
        for size, strength in ((60, 22.0), (20, 16.0), (6, 8.0)) if not plain else ():
            rows, columns = 340 // size + 1, 360 * _DEGREE // size
            cells = noise.normal(0, strength, (rows, columns)).astype(np.float32)
            # Without an edge where it comes round again
            cells = np.concatenate([cells, cells[:, :2]], axis=1)
            large = cv2.resize(cells, None, fx=size, fy=size, interpolation=cv2.INTER_LINEAR)
            wall += np.asarray(large, np.float32)[:340, size : size + wall.shape[1]]
        self._wall: U8 = wall.clip(0, 255).astype(np.uint8)

    def view(self, heading: float, *, up: float = 0.0, field: float = 60.0) -> U8:
        """The camera's picture, (180, 320)."""
        focal = WIDTH / 2 / math.tan(math.radians(field / 2))
        angles = np.arctan((np.arange(WIDTH) - (WIDTH - 1) / 2) / focal)
        columns = np.arange(-60 * _DEGREE, 60 * _DEGREE) + round(heading * _DEGREE)
        part = np.ascontiguousarray(self._wall[:, columns % self._wall.shape[1]])
        radius = _DEGREE * 180 / math.pi
        x = np.broadcast_to(60 * _DEGREE + angles * radius, (HEIGHT, WIDTH)).astype(np.float32)
        rows = (np.arange(HEIGHT) - (HEIGHT - 1) / 2)[:, None] / focal
        y = (170 - up * _DEGREE + radius * rows / np.cos(angles)[None, :]).astype(np.float32)
        seen = cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen, np.uint8)

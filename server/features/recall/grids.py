"""Coarse grids of pictures, for comparing many at once. A camera that moved a little shows the same scene."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from server.attention.scratch import U8

# Cells of the luma, and of each chroma plane: columns and rows
_LUMA, _CHROMA = (48, 27), (24, 14)
_PLANES = (_LUMA, _CHROMA, _CHROMA)
# Bytes of a grid
SIZE = sum(columns * rows for columns, rows in _PLANES)
# Levels by which a cell differs from all those around it in the other picture
_LEAST = 14
# So many cells that differ are another scene
_CELLS = 4
# Times the usual spread of that number, in a scene that always moves
_RESTLESS = 3.0
_AROUND = np.ones((3, 3), np.uint8)
# Where each plane begins in a grid
_BEGINS = np.cumsum([0, *(columns * rows for columns, rows in _PLANES[:-1])])


def grid_of(jpeg: bytes) -> U8:
    """Return a picture's grid: (SIZE,) levels of luma, then of chroma. Raises ValueError for a broken JPEG.

    It always lies across: a picture on its side differs from an upright one.
    """
    found = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_REDUCED_COLOR_4)
    if found is None:
        raise ValueError("a stored picture cannot be decoded")
    planes = cv2.split(cv2.cvtColor(found, cv2.COLOR_BGR2YCrCb))
    return np.concatenate(
        [
            cv2.resize(plane, cells, interpolation=cv2.INTER_AREA).ravel()
            for plane, cells in zip(planes, _PLANES, strict=True)
        ]
    ).astype(np.uint8)


class Compared:
    """Grids that are compared with others."""

    def __init__(self, grids: Sequence[U8]) -> None:
        self._grids = np.stack([_leveled(grid) for grid in grids])

    def counts(self, other: U8) -> NDArray[np.float64]:
        """Return for each grid the number of cells of each plane that differ from another grid: (n, 3).

        A light that changes for the whole picture and a camera that moved by a cell are no difference.
        """
        least, most = _around(_leveled(other))
        beyond = np.maximum(self._grids - most, least - self._grids) > _LEAST
        return np.add.reduceat(beyond, _BEGINS, axis=1, dtype=np.float64)

    def differ(self, other: U8) -> NDArray[np.float64]:
        """Return for each grid how far it is from another: (n,), 0 the same scene to 1 another."""
        return np.asarray(np.minimum(1.0, self.counts(other).sum(axis=1) / _CELLS))


class Usual:
    """A camera's usual scene, and the usual number of cells that differ from it."""

    def __init__(self, grids: Sequence[U8]) -> None:
        """`grids`: of moments at even distances."""
        self._scene = np.asarray(np.median(np.stack(grids), axis=0), np.uint8)
        counts = Compared(grids).counts(self._scene)
        quarter, self._half, most = np.quantile(counts, (0.25, 0.5, 0.75), axis=0)
        self._spread = _CELLS + _RESTLESS * (most - quarter)

    def unlike(self, compared: Compared) -> NDArray[np.float64]:
        """Return for each grid how unusual it is: (n,), 0 to 1. What always moves is usual."""
        beyond = (compared.counts(self._scene) - self._half) / self._spread
        return np.asarray(np.clip(beyond.max(axis=1), 0.0, 1.0))


def differ(one: U8, other: U8) -> float:
    """Return how far two grids are from each other: 0 the same scene to 1 another."""
    return max(float(Compared([one]).differ(other)[0]), float(Compared([other]).differ(one)[0]))


def _leveled(grid: U8) -> NDArray[np.int16]:
    """Return a grid around the middle of its luma."""
    leveled = grid.astype(np.int16)
    luma = leveled[: _LUMA[0] * _LUMA[1]]
    luma -= np.int16(np.median(luma))
    return leveled


def _around(grid: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the least and the most of each cell and its neighbors."""
    least, most, at = [], [], 0
    for columns, rows in _PLANES:
        plane = grid[at : at + columns * rows].reshape(rows, columns)
        least.append(cv2.erode(plane, _AROUND).ravel())
        most.append(cv2.dilate(plane, _AROUND).ravel())
        at += columns * rows
    return np.concatenate(least), np.concatenate(most)

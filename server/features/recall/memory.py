"""The recent past of a camera: small filtered pictures, kept when the scene changes, and chosen by content. Pure.

`now` and capture times are in seconds of the same steady clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from server.media.picture.planes import U8
from server.media.picture.prepare import Stored

# Least seconds between two pictures
CLOSEST_SECONDS = 1.0
# Seconds after which a newer picture replaces the last one while nothing changes, so that the view before
# the next change is in memory even after hours
REFRESH_SECONDS = 60.0
# Most pictures kept
MOST = 600
# Seconds added to ages when they are compared, so that older pictures stay, too
_RECENT = 5.0
# Number of evenly spaced moments whose median is the usual scene
_MOMENTS = 33
# Pictures after which the usual scene is computed again
_USUAL_FOR = 20
# Value of a picture that shows the same as its neighbors, relative to a picture that differs
_ALIKE = 0.1
# Pictures further apart than this fraction of their age count as different events, even if they look alike.
_APART = 0.15
# Value of a picture of the usual scene per unit of log distance from the ages already chosen
_FILL = 0.0005
# Age in seconds at which an event has half the value of one that happens now
_FADES = 40.0


class DropReason(StrEnum):
    """Reason why a picture is no longer in memory."""

    # Older than the bound in seconds
    OLD = "old"
    # The bound in bytes or pictures was reached: the least valuable picture is dropped.
    FULL = "full"
    # A newer picture shows the same.
    SAME = "same"
    # Captured before the newest picture
    LATE = "late"
    # Dropped on request, or with the camera or the session
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, eq=False)
class PastPicture(Stored):
    """A small picture of a frame, after the privacy filters."""

    # Capture time of the first frame that showed the same, in seconds
    since: float
    # Coarse grid of the picture, as returned by `read_grid`
    grid: U8

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.jpeg) + self.grid.nbytes


class Recall:
    """One camera's pictures of the recent past, bounded in seconds and bytes.

    Bounds of pictures of the recent past: RECALL_SECONDS, RECALL_MEGABYTES and 600; beyond them one
    that shows the same as its neighbors is dropped, the oldest of these first. One picture is made at
    a time in all sessions; frames that come meanwhile are dropped.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds = seconds
        self.most_bytes = most_bytes
        # Bytes of all pictures
        self.size = 0
        # Oldest first
        self._kept: list[PastPicture] = []
        # For each picture its distance from the previous one, and how unusual it was when it was added, 0 to 1
        self._apart: list[float] = []
        self._unlike: list[float] = []
        # The usual scene, None before the first picture; and the number of pictures until it is computed again
        self._usual: Usual | None = None
        self._usual_uses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def is_due(self, changed: bool, captured: float) -> bool:
        """Return True if a frame should be kept. `changed`: True if it differs from the newest picture."""
        if not self._kept:
            return True
        passed = captured - self._kept[-1].captured
        return passed >= (CLOSEST_SECONDS if changed else min(REFRESH_SECONDS, self.seconds / 4))

    def keep(
        self, picture: PastPicture, now: float, *, changed: bool = True
    ) -> Counter[DropReason]:
        """Keep a picture. It replaces the newest one unless the scene has changed.

        Return the number of dropped pictures, by reason.
        """
        dropped = self.expire(now)
        newest = self._kept[-1] if self._kept else None
        if newest is not None and picture.captured <= newest.captured:
            dropped[DropReason.LATE] += 1
            return dropped
        if picture.size > self.most_bytes:
            dropped[DropReason.FULL] += 1
            return dropped
        if newest is not None and not changed:
            picture = replace(picture, since=newest.since)
            self._drop(len(self._kept) - 1)
            dropped[DropReason.SAME] += 1
        self._apart.append(
            measure_distance(self._kept[-1].grid, picture.grid) if self._kept else 1.0
        )
        self._kept.append(picture)
        self._unlike.append(self._measure_unusualness(picture, now))
        self.size += picture.size
        while self.size > self.most_bytes or len(self._kept) > MOST:
            self._drop(self._find_least_valuable(now))
            dropped[DropReason.FULL] += 1
        return +dropped

    def expire(self, now: float) -> Counter[DropReason]:
        """Drop the pictures that are too old; return their number."""
        dropped: Counter[DropReason] = Counter()
        while self._kept and now - self._kept[0].captured > self.seconds:
            self._drop(0)
            dropped[DropReason.OLD] += 1
        return dropped

    def clear(self) -> Counter[DropReason]:
        dropped = Counter({DropReason.CLEARED: len(self._kept)})
        self._kept.clear()
        self._apart.clear()
        self._unlike.clear()
        self._usual = None
        self.size = 0
        return +dropped

    def get_oldest(self) -> PastPicture | None:
        return self._kept[0] if self._kept else None

    def list_pictures(self) -> tuple[PastPicture, ...]:
        """Return all pictures, oldest first, for `select_before` and `select_during`."""
        return tuple(self._kept)

    def _measure_unusualness(self, picture: PastPicture, now: float) -> float:
        if self._usual is None or self._usual_uses <= 0:
            self._usual = _get_usual(self._kept, now)
            self._usual_uses = min(len(self._kept), _USUAL_FOR)
        self._usual_uses -= 1
        return float(self._usual.measure_unusualness(Compared([picture.grid]))[0])

    def _find_least_valuable(self, now: float) -> int:
        """Return the index of the least valuable picture; never the first or the last of three or more.

        Pictures that show the same as their neighbors have the least value; of these, the one closest to them for its
        age.
        """

        def measure_worth(at: int) -> float:
            apart = min(self._apart[at], self._apart[at + 1])
            differs = _ALIKE + apart * (_ALIKE + self._unlike[at])
            around = self._kept[at + 1].captured - self._kept[at - 1].captured
            return differs * around / (max(0.0, now - self._kept[at].captured) + _RECENT)

        return min(range(1, len(self._kept) - 1), key=measure_worth, default=0)

    def _drop(self, at: int) -> None:
        self.size -= self._kept.pop(at).size
        del self._apart[at], self._unlike[at]
        if 0 < at < len(self._kept):
            self._apart[at] = measure_distance(self._kept[at - 1].grid, self._kept[at].grid)


def select_before(
    pictures: Sequence[PastPicture], captured: float, count: int
) -> tuple[PastPicture, ...]:
    """Return at most `count` of the pictures captured before a time, oldest first.

    Prefer pictures that differ from the usual scene and from those chosen already, recent ones first;
    among pictures of the usual scene, spread the ages evenly on a log scale.
    """
    past = [one for one in pictures if one.captured < captured]
    return _choose(past, past, captured, count, fading=True)


def select_during(
    pictures: Sequence[PastPicture], since: float, until: float, count: int
) -> tuple[PastPicture, ...]:
    """Return at most `count` of the pictures that show the period from `since` to `until`, oldest first.

    The first picture may have been captured earlier, if the scene had not changed by `since`. Choose as
    `select_before` does, but without a preference for recent pictures.
    """
    past = [one for one in pictures if one.captured < until]
    found = [one for one in past if one.captured >= since]
    earlier = past[: len(past) - len(found)]
    if earlier and (not found or found[0].since > since):
        found.insert(0, earlier[-1])
    return _choose(found, past, until, count, fading=False)


def _choose(
    found: Sequence[PastPicture],
    past: Sequence[PastPicture],
    now: float,
    count: int,
    *,
    fading: bool,
) -> tuple[PastPicture, ...]:
    """Return at most `count` of `found`, chosen by content; `past`: all pictures before `now`, for the usual scene."""
    if count <= 0:
        return ()
    if len(found) <= count:
        return tuple(found)
    captured = np.array([one.captured for one in found])
    ages = np.maximum(0.0, now - captured) + _RECENT
    compared = Compared([one.grid for one in found])
    unusualness = _get_usual(past, now).measure_unusualness(compared)
    worth = unusualness / (ages + _FADES if fading else _FADES)
    # Distance of each picture from those already chosen: in content, and in the log of its age
    new, far = np.ones(len(found)), np.log(ages / _RECENT)
    chosen: list[int] = []
    for _ in range(count):
        gain = worth * new + _FILL * far
        gain[chosen] = -1.0
        at = int(np.argmax(gain))
        chosen.append(at)
        apart = np.minimum(1.0, np.abs(captured - captured[at]) / (_APART * ages))
        new = np.minimum(new, apart * (1 + compared.measure_distance(found[at].grid)) / 2)
        far = np.minimum(far, np.abs(np.log(ages / ages[at])))
    return tuple(found[at] for at in sorted(chosen))


def _get_usual(past: Sequence[PastPicture], now: float) -> Usual:
    """Return the usual scene between the first of these pictures and now."""
    begins = [one.captured for one in past]
    moments: NDArray[np.float64] = np.linspace(past[0].captured, now, _MOMENTS)
    return Usual([past[bisect_right(begins, at) - 1].grid for at in moments])


# Coarse grids of pictures, to compare many at once. If a camera moves by a cell, the grids still count as the
# same scene.

# Cells of the luma, and of each chroma plane: columns and rows
_LUMA, _CHROMA = (48, 27), (24, 14)
_PLANES = (_LUMA, _CHROMA, _CHROMA)
# Bytes of a grid
SIZE = sum(columns * rows for columns, rows in _PLANES)
# Grey levels by which a cell has to differ from all cells around it in the other picture
_LEAST = 14
# Number of differing cells from which on two pictures show different scenes
_CELLS = 4
# Factor for the usual spread of that number, for scenes that always move
_RESTLESS = 3.0
_AROUND = np.ones((3, 3), np.uint8)
# Index at which each plane begins in a grid
_BEGINS = np.cumsum([0, *(columns * rows for columns, rows in _PLANES[:-1])])


def read_grid(jpeg: bytes) -> U8:
    """Return a picture's grid: (SIZE,) uint8, luma first, then chroma. Raise ValueError for a broken JPEG.

    The grid is always in landscape format, so a rotated picture differs from an upright one.
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
    """Several grids, which are compared with another grid at once."""

    def __init__(self, grids: Sequence[U8]) -> None:
        self._grids = np.stack([_to_level(grid) for grid in grids])

    def count_differences(self, other: U8) -> NDArray[np.float64]:
        """Return, for each grid, the number of cells of each plane that differ from another grid: (n, 3).

        Ignore a change of the whole picture's light, and a camera motion of one cell.
        """
        least, most = _find_local_extremes(_to_level(other))
        beyond = np.maximum(self._grids - most, least - self._grids) > _LEAST
        return np.add.reduceat(beyond, _BEGINS, axis=1, dtype=np.float64)

    def measure_distance(self, other: U8) -> NDArray[np.float64]:
        """Return the distance of each grid from another grid: (n,), 0 (same scene) to 1."""
        return np.asarray(np.minimum(1.0, self.count_differences(other).sum(axis=1) / _CELLS))


class Usual:
    """A camera's usual scene, and the usual number of cells that differ from it."""

    def __init__(self, grids: Sequence[U8]) -> None:
        """`grids`: those of evenly spaced moments, (SIZE,) uint8 each."""
        self._scene = np.asarray(np.median(np.stack(grids), axis=0), np.uint8)
        counts = Compared(grids).count_differences(self._scene)
        quarter, self._half, most = np.quantile(counts, (0.25, 0.5, 0.75), axis=0)
        self._spread = _CELLS + _RESTLESS * (most - quarter)

    def measure_unusualness(self, compared: Compared) -> NDArray[np.float64]:
        """Return how unusual each grid is: (n,), 0 to 1. Continuous motion counts as usual."""
        beyond = (compared.count_differences(self._scene) - self._half) / self._spread
        return np.asarray(np.clip(beyond.max(axis=1), 0.0, 1.0))


def measure_distance(one: U8, other: U8) -> float:
    """Return the distance between two grids, 0 (same scene) to 1."""
    return max(
        float(Compared([one]).measure_distance(other)[0]),
        float(Compared([other]).measure_distance(one)[0]),
    )


def _to_level(grid: U8) -> NDArray[np.int16]:
    """Return a grid whose luma has its median subtracted."""
    leveled = grid.astype(np.int16)
    luma = leveled[: _LUMA[0] * _LUMA[1]]
    luma -= np.int16(np.median(luma))
    return leveled


def _find_local_extremes(grid: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the minimum and the maximum over each cell and its neighbors."""
    least, most, at = [], [], 0
    for columns, rows in _PLANES:
        plane = grid[at : at + columns * rows].reshape(rows, columns)
        least.append(cv2.erode(plane, _AROUND).ravel())
        most.append(cv2.dilate(plane, _AROUND).ravel())
        at += columns * rows
    return np.concatenate(least), np.concatenate(most)

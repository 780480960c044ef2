"""The recent past of a camera: small filtered pictures, kept on change, chosen by what they show. Pure.

`now` and capture times are seconds of the same steady clock.
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

# Least time between two pictures
CLOSEST_SECONDS = 1.0
# While nothing changes, a newer picture replaces the last one this often: the view before the next
# change is in memory even after hours.
REFRESH_SECONDS = 60.0
# Most pictures of a memory
MOST = 600
# Added to an age when two distances are compared, so that the last seconds are not all that stays
_RECENT = 5.0
# Moments of which the usual scene is made
_MOMENTS = 33
# Pictures after which the usual scene is made anew
_USUAL_FOR = 20
# The worth of a picture that shows what its neighbors show, relative to one that differs
_ALIKE = 0.1
# Pictures at this share of their age, and a few seconds, are of two events, though they look alike.
_APART = 0.15
# The worth of a picture of the usual scene, for each step away from the ages that are chosen already
_FILL = 0.0005
# Of two events, one of this age in seconds is worth half of one that is now.
_FADES = 40.0


class DropReason(StrEnum):
    """The reason why a picture is not in memory any more."""

    # Older than the bound in seconds
    OLD = "old"
    # The bound in bytes was reached: of alike ones the oldest goes.
    FULL = "full"
    # A newer picture shows the same.
    SAME = "same"
    # Captured before the newest one
    LATE = "late"
    # Forgotten on request, or with the camera or the session
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, eq=False)
class PastPicture(Stored):
    """A small picture of a frame, after the privacy filters."""

    # Capture time of the first frame that showed the same
    since: float
    # See `grids`
    grid: U8

    @property
    def size(self) -> int:
        """Bytes of it in memory."""
        return len(self.jpeg) + self.grid.nbytes


class Recall:
    """One camera's pictures, bounded in seconds and bytes. When full, one that shows nothing of its own goes.

    Bounds of pictures of the recent past: RECALL_SECONDS, RECALL_MEGABYTES and 600; then one that
    shows what its neighbors show is dropped, of those the oldest. One picture is made at a time,
    in all sessions; frames that come meanwhile are dropped.
    """

    def __init__(self, seconds: float, most_bytes: int) -> None:
        self.seconds = seconds
        self.most_bytes = most_bytes
        # Bytes of all pictures
        self.size = 0
        # Oldest first
        self._kept: list[PastPicture] = []
        # For each picture how far it is from the one before, and how unusual it was when it came
        self._apart: list[float] = []
        self._unlike: list[float] = []
        # None before the first picture; and the pictures until it is made anew
        self._usual: Usual | None = None
        self._usual_uses = 0

    def __len__(self) -> int:
        return len(self._kept)

    def due(self, changed: bool, captured: float) -> bool:
        """Return True when a frame should be kept. `changed`: it differs from the newest picture."""
        if not self._kept:
            return True
        passed = captured - self._kept[-1].captured
        return passed >= (CLOSEST_SECONDS if changed else min(REFRESH_SECONDS, self.seconds / 4))

    def keep(
        self, picture: PastPicture, now: float, *, changed: bool = True
    ) -> Counter[DropReason]:
        """Keep a picture, in place of the newest one unless the scene changed.

        Returns the number of pictures that went, by reason.
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
        self._apart.append(grid_distance(self._kept[-1].grid, picture.grid) if self._kept else 1.0)
        self._kept.append(picture)
        self._unlike.append(self._unusualness(picture, now))
        self.size += picture.size
        while self.size > self.most_bytes or len(self._kept) > MOST:
            self._drop(self._least_valuable(now))
            dropped[DropReason.FULL] += 1
        return +dropped

    def expire(self, now: float) -> Counter[DropReason]:
        """Drop the pictures that are too old."""
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

    def oldest(self) -> PastPicture | None:
        return self._kept[0] if self._kept else None

    def pictures(self) -> tuple[PastPicture, ...]:
        """Return all pictures, oldest first, for `before` and `during`."""
        return tuple(self._kept)

    def _unusualness(self, picture: PastPicture, now: float) -> float:
        if self._usual is None or self._usual_uses <= 0:
            self._usual = _usual(self._kept, now)
            self._usual_uses = min(len(self._kept), _USUAL_FOR)
        self._usual_uses -= 1
        return float(self._usual.unusualness(Compared([picture.grid]))[0])

    def _least_valuable(self, now: float) -> int:
        """Return the index of the picture that is missed least; of three the first and the last stay.

        One that shows what its neighbors show goes first, and of those the closest for its age.
        """

        def worth(at: int) -> float:
            apart = min(self._apart[at], self._apart[at + 1])
            differs = _ALIKE + apart * (_ALIKE + self._unlike[at])
            around = self._kept[at + 1].captured - self._kept[at - 1].captured
            return differs * around / (max(0.0, now - self._kept[at].captured) + _RECENT)

        return min(range(1, len(self._kept) - 1), key=worth, default=0)

    def _drop(self, at: int) -> None:
        self.size -= self._kept.pop(at).size
        del self._apart[at], self._unlike[at]
        if 0 < at < len(self._kept):
            self._apart[at] = grid_distance(self._kept[at - 1].grid, self._kept[at].grid)


def before(pictures: Sequence[PastPicture], captured: float, count: int) -> tuple[PastPicture, ...]:
    """Return at most `count` of the pictures captured before a time, oldest first: what happened.

    Each is chosen for how far it is from the usual scene and from those chosen already, and the
    more recent the sooner; without such ones, the more recent the closer together they are.
    """
    past = [one for one in pictures if one.captured < captured]
    return _choose(past, past, captured, count, fading=True)


def during(
    pictures: Sequence[PastPicture], since: float, until: float, count: int
) -> tuple[PastPicture, ...]:
    """Return at most `count` of the pictures that show the time between these two, oldest first.

    The first one may have been captured before, while the scene was as at the beginning. They are
    chosen as in `before`, but no time in it is worth more than another.
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
    """Choose of `found` by content; `past`: all pictures before `now`, which show the usual scene."""
    if count <= 0:
        return ()
    if len(found) <= count:
        return tuple(found)
    captured = np.array([one.captured for one in found])
    ages = np.maximum(0.0, now - captured) + _RECENT
    compared = Compared([one.grid for one in found])
    unusualness = _usual(past, now).unusualness(compared)
    worth = unusualness / (ages + _FADES if fading else _FADES)
    # How far each is from those that are chosen: in what it shows, and in its age
    new, far = np.ones(len(found)), np.log(ages / _RECENT)
    chosen: list[int] = []
    for _ in range(count):
        gain = worth * new + _FILL * far
        gain[chosen] = -1.0
        at = int(np.argmax(gain))
        chosen.append(at)
        apart = np.minimum(1.0, np.abs(captured - captured[at]) / (_APART * ages))
        new = np.minimum(new, apart * (1 + compared.grid_distance(found[at].grid)) / 2)
        far = np.minimum(far, np.abs(np.log(ages / ages[at])))
    return tuple(found[at] for at in sorted(chosen))


def _usual(past: Sequence[PastPicture], now: float) -> Usual:
    """Return the usual scene of the time from the first of these pictures until now."""
    begins = [one.captured for one in past]
    moments: NDArray[np.float64] = np.linspace(past[0].captured, now, _MOMENTS)
    return Usual([past[bisect_right(begins, at) - 1].grid for at in moments])


# Coarse grids of pictures, for comparing many at once. A camera that moved a little shows the
# same scene.

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
        self._grids = np.stack([_level(grid) for grid in grids])

    def counts(self, other: U8) -> NDArray[np.float64]:
        """Return for each grid the number of cells of each plane that differ from another grid: (n, 3).

        A light that changes for the whole picture and a camera that moved by a cell are no difference.
        """
        least, most = _local_extremes(_level(other))
        beyond = np.maximum(self._grids - most, least - self._grids) > _LEAST
        return np.add.reduceat(beyond, _BEGINS, axis=1, dtype=np.float64)

    def grid_distance(self, other: U8) -> NDArray[np.float64]:
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

    def unusualness(self, compared: Compared) -> NDArray[np.float64]:
        """Return for each grid how unusual it is: (n,), 0 to 1. What always moves is usual."""
        beyond = (compared.counts(self._scene) - self._half) / self._spread
        return np.asarray(np.clip(beyond.max(axis=1), 0.0, 1.0))


def grid_distance(one: U8, other: U8) -> float:
    """Return how far two grids are from each other: 0 the same scene to 1 another."""
    return max(
        float(Compared([one]).grid_distance(other)[0]),
        float(Compared([other]).grid_distance(one)[0]),
    )


def _level(grid: U8) -> NDArray[np.int16]:
    """Return a grid around the middle of its luma."""
    leveled = grid.astype(np.int16)
    luma = leveled[: _LUMA[0] * _LUMA[1]]
    luma -= np.int16(np.median(luma))
    return leveled


def _local_extremes(grid: NDArray[np.int16]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return the least and the most of each cell and its neighbors."""
    least, most, at = [], [], 0
    for columns, rows in _PLANES:
        plane = grid[at : at + columns * rows].reshape(rows, columns)
        least.append(cv2.erode(plane, _AROUND).ravel())
        most.append(cv2.dilate(plane, _AROUND).ravel())
        at += columns * rows
    return np.concatenate(least), np.concatenate(most)

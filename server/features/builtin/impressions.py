"""Small copies of the last pictures of sessions, to find changes. Pure, bounded, in RAM only."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import eq
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from server.features.builtin.detector import DetectedThing
from server.features.builtin.rank import is_similar
from server.media.picture.encode import Bgr

T = TypeVar("T")

# A picture of 48x27 grey cells
Cells = NDArray[np.int16]
_SIZE = (48, 27)
# Grey levels by which a changed cell differs, less the whole picture's change of light
_CELL = 18
# Maximum number of stored rows of a picture's text
_ROWS = 40


def make_cells(bgr: Bgr) -> Cells:
    small = cv2.resize(bgr, _SIZE, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.int16)


def find_changed_cells(before: Cells, now: Cells) -> tuple[NDArray[np.bool_], float]:
    """Return the mask of the changed cells, and the increase of the median grey level."""
    lighter = float(np.median(now) - np.median(before))
    return np.abs(now - before - round(lighter)) > _CELL, lighter


class SessionStore(Generic[T]):
    """One value for each session and camera; beyond `sessions` values the least recently used is dropped."""

    def __init__(self, sessions: int = 128) -> None:
        self._most = sessions
        self._kept: OrderedDict[tuple[str, str], T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def take(self, session_id: str, camera: str = "") -> T | None:
        """Remove and return the value; None if there is none."""
        return self._kept.pop((session_id, camera), None)

    def put(self, value: T, session_id: str, camera: str = "") -> None:
        self._kept[session_id, camera] = value
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def forget(self, session_id: str) -> None:
        for key in [one for one in self._kept if one[0] == session_id]:
            del self._kept[key]


@dataclass(frozen=True, slots=True)
class PictureChange:
    """The difference between a picture and the previous one."""

    # Seconds between the two pictures
    seconds: float
    # Fraction of cells that changed, 0 to 1, and the third of the picture with most of them: "left", "middle", "right"
    share: float
    where: str
    # 1: clearly brighter, -1: clearly darker, 0: neither
    light: int
    new_rows: tuple[str, ...]
    gone_rows: tuple[str, ...]
    # Names of objects
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()

    @property
    def anything(self) -> bool:
        changes = self.new_rows or self.gone_rows or self.came or self.went
        return self.share >= 0.02 or self.light != 0 or bool(changes)


@dataclass(frozen=True, slots=True, eq=False)
class Impression:
    """A picture's cells, text and objects."""

    cells: Cells
    # None if the text was not read
    rows: tuple[str, ...] | None
    # Monotonic seconds
    captured: float
    # Names of the objects found; None if the detector did not run
    things: tuple[str, ...] | None = None


def make_impression(
    bgr: Bgr,
    rows: tuple[str, ...] | None,
    captured: float,
    things: Sequence[DetectedThing] | None = None,
) -> Impression:
    names = tuple(dict.fromkeys(one.name for one in things)) if things is not None else None
    kept = rows[:_ROWS] if rows is not None else None
    return Impression(make_cells(bgr), kept, captured, names)


def compare(before: Impression, now: Impression) -> PictureChange:
    differs, lighter = find_changed_cells(before.cells, now.cells)
    thirds = [float(part.mean()) for part in np.array_split(differs, 3, axis=1)]
    where = ("left", "middle", "right")[int(np.argmax(thirds))]
    return PictureChange(
        seconds=max(0.0, now.captured - before.captured),
        share=float(differs.mean()),
        where=where,
        light=0 if abs(lighter) < 25 else (1 if lighter > 0 else -1),
        new_rows=_find_missing(now.rows, before.rows, is_similar),
        gone_rows=_find_missing(before.rows, now.rows, is_similar),
        came=_find_missing(now.things, before.things, eq),
        went=_find_missing(before.things, now.things, eq),
    )


def _find_missing(
    texts: Sequence[str] | None, others: Sequence[str] | None, same: Callable[[str, str], bool]
) -> tuple[str, ...]:
    """Return the texts without a similar text in `others`; empty if either of them is unknown."""
    if texts is None or others is None:
        return ()
    return tuple(one for one in texts if not any(same(one, other) for other in others))


class Memory(SessionStore[Impression]):
    """The last impression of each session and camera.

    Bounds of the built-in engine's last observations: 128 sessions; the least recently used is
    dropped.
    """

    def exchange(self, session_id: str, now: Impression, camera: str = "") -> Impression | None:
        """Store an impression and return the previous one of this camera; None if it is the first."""
        before = self.take(session_id, camera)
        if before is not None:
            # Parts that were not examined this time keep their last result.
            now = replace(
                now,
                rows=before.rows if now.rows is None else now.rows,
                things=before.things if now.things is None else now.things,
            )
        self.put(now, session_id, camera)
        return before

"""Impressions of each session's last picture, to find changes. Pure, bounded, in RAM only."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from server.engines.builtin.facts import Change
from server.engines.builtin.fields import similar

_WIDTH, _HEIGHT = 48, 27
# Grey levels by which a changed cell differs beyond the whole picture's change of light
_CELL = 18
# Stored rows of a picture's text
_ROWS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Impression:
    """A picture of 48x27 grey cells, and the text if it was read."""

    cells: NDArray[np.int16]
    # None when the text was not read
    rows: tuple[str, ...] | None
    # Monotonic seconds
    captured: float


def impression(bgr: NDArray[np.uint8], rows: tuple[str, ...] | None, captured: float) -> Impression:
    small = cv2.resize(bgr, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.int16)
    return Impression(grey, rows[:_ROWS] if rows is not None else None, captured)


def compare(before: Impression, now: Impression) -> Change:
    lighter = float(np.median(now.cells) - np.median(before.cells))
    differs = np.abs(now.cells - before.cells - round(lighter)) > _CELL
    thirds = [float(part.mean()) for part in np.array_split(differs, 3, axis=1)]
    where = ("left", "middle", "right")[int(np.argmax(thirds))]
    old, new = before.rows, now.rows
    new_rows: tuple[str, ...] = ()
    gone_rows: tuple[str, ...] = ()
    if old is not None and new is not None:
        new_rows = tuple(row for row in new if not any(similar(row, other) for other in old))
        gone_rows = tuple(row for row in old if not any(similar(row, other) for other in new))
    light = 0 if abs(lighter) < 25 else (1 if lighter > 0 else -1)
    seconds = max(0.0, now.captured - before.captured)
    return Change(seconds, float(differs.mean()), where, light, new_rows, gone_rows)


class Memory:
    """One impression a session and camera, at most `sessions`; the least recently used is dropped.

    Bounds of the built-in engine's last observations: 128 sessions; the least recently used is
    dropped.
    """

    def __init__(self, sessions: int = 128) -> None:
        self._sessions = sessions
        self._kept: OrderedDict[tuple[str, str], Impression] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def exchange(self, session_id: str, now: Impression, camera: str = "") -> Impression | None:
        """Store an impression and return the one before of this camera; None for the first."""
        key = (session_id, camera)
        before = self._kept.pop(key, None)
        if now.rows is None and before is not None:
            # The text was not read this time, so the last one that was read stays.
            now = Impression(now.cells, before.rows, now.captured)
        self._kept[key] = now
        while len(self._kept) > self._sessions:
            self._kept.popitem(last=False)
        return before

    def forget(self, session_id: str) -> None:
        for key in [one for one in self._kept if one[0] == session_id]:
            del self._kept[key]

"""The pace of background requests: at a change, less often while answers stay the same.

If much of the picture always moves, a request also goes out now and then without a change.
"""

from __future__ import annotations

import math

from server.attention.gate import Change, Region, Why

# Seconds between requests: doubled after each answer that is the same, none after a new one.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
# With more than BUSY_SHARE of the picture always moving the gate sees less, so a request goes out
# every HEARTBEAT_SECONDS without a change.
BUSY_SHARE = 0.005
HEARTBEAT_SECONDS = 60.0
# A scene without a change for so long does not always move: the next change is asked about at once.
CALM_SECONDS = 4.0
# A change is of another kind when it is so many times as strong as all of its kind that led to the same answer.
_STRONGER = 1.5
# A change is elsewhere with less than this share of its region where answers stayed the same.
_ELSEWHERE = 0.5


class Pace:
    """The pace of one piece of background work. `now` is in seconds of any steady clock."""

    def __init__(self) -> None:
        self._asked = -math.inf
        self._pause = 0.0
        self._until = -math.inf
        # The change for the request that runs; None for one without a change
        self._change: Change | None = None
        # Of the changes that led to the same answer: their regions, and the strongest of each kind
        self._fruitless: Region | None = None
        self._strongest: dict[Why, float] = {}
        # The first of the looks that have found no change since; None after one that did
        self._calm: float | None = None

    def due(self, change: Change, now: float) -> bool:
        """Return True when the frame of this look should be asked about. To be called at each look."""
        self._note_calm(change, now)
        if change.busy > BUSY_SHARE and now - self._asked >= HEARTBEAT_SECONDS:
            return True
        return change.changed and (now >= self._until or self._another(change))

    def asked(self, change: Change, now: float) -> None:
        """Note that a request was sent because of this look."""
        self._asked = now
        self._change = change if change.changed else None

    def answered(self, now: float, *, same: bool) -> None:
        """Note the end of the request. `same`: its answer says nothing new."""
        if not same:
            self._pause = 0.0
            self._forget_fruitless()
        else:
            self._pause = _longer(self._pause)
            if (change := self._change) is not None:
                self._fruitless = _union(self._fruitless, change.region)
                strongest = max(change.value, self._strongest.get(change.why, 0.0))
                self._strongest[change.why] = strongest
        self._until = now + self._pause

    def failed(self, now: float) -> None:
        """Note a request without an answer: pauses grow as for answers that stay the same."""
        self._pause = _longer(self._pause)
        self._forget_fruitless()
        self._until = now + self._pause

    def retry(self) -> None:
        """End the pause."""
        self._pause, self._until = 0.0, -math.inf
        self._forget_fruitless()

    def _note_calm(self, change: Change, now: float) -> None:
        if change.changed:
            self._calm = None
        elif self._calm is None:
            self._calm = now
        elif now - self._calm >= CALM_SECONDS and self._fruitless is not None:
            self.retry()

    def _forget_fruitless(self) -> None:
        self._fruitless = None
        self._strongest.clear()

    def _another(self, change: Change) -> bool:
        """Find whether a change is another one than those that led to the same answer."""
        if self._fruitless is None:
            return False
        known = self._strongest.get(change.why, 0.0)
        return change.value > _STRONGER * known or self._elsewhere(change.region)

    def _elsewhere(self, region: Region | None) -> bool:
        known = self._fruitless
        if region is None or known is None:
            return False
        width = min(region.right, known.right) - max(region.left, known.left)
        height = min(region.bottom, known.bottom) - max(region.top, known.top)
        shared = max(0.0, width) * max(0.0, height)
        size = (region.right - region.left) * (region.bottom - region.top)
        return shared < _ELSEWHERE * size


def _longer(pause: float) -> float:
    return min(LONGEST_PAUSE, pause * 2) or FIRST_PAUSE


def _union(one: Region | None, other: Region | None) -> Region | None:
    if one is None or other is None:
        return one or other
    return Region(
        min(one.left, other.left),
        min(one.top, other.top),
        max(one.right, other.right),
        max(one.bottom, other.bottom),
    )

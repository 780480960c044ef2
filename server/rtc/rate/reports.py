"""Decide when a changed limit of the path is reported. Pure: the caller gives the time."""

from __future__ import annotations

import math

# Relative changes that are reported: decreases at once, increases less often.
REMB_MOVE, REMB_EVERY_S = 0.05, 1.0
CAP_MOVE, MORE_EVERY_S = 0.08, 0.3


class Reports:
    """Remembers what the browser and the page heard last, and when."""

    __slots__ = ("_cap", "_fps", "_page_at", "_remb", "_remb_at")

    def __init__(self) -> None:
        # bit/s
        self._remb = 0
        self._remb_at = -math.inf
        # bit/s
        self._cap = 0
        self._fps = 0
        self._page_at = -math.inf

    def remb_due(self, now: float, remb: int) -> bool:
        """Return True when this REMB (bit/s) should be sent now, and count it as sent.

        It is due after a change of more than 5 %, and every second.
        """
        moved = abs(remb - self._remb) > REMB_MOVE * self._remb
        if not moved and now - self._remb_at < REMB_EVERY_S:
            return False
        self._remb, self._remb_at = remb, now
        return True

    def page_due(self, now: float, cap: int, fps: int) -> bool:
        """Return True when the page should get these limits now, and count them as reported.

        `cap`: bit/s; `fps`: frames per second. They are due at first, after a decrease of 8 %, and
        after an increase of 8 % 0.3 s after the last report.
        """
        less = cap < (1 - CAP_MOVE) * self._cap or fps < (1 - CAP_MOVE) * self._fps
        more = cap > (1 + CAP_MOVE) * self._cap or fps > (1 + CAP_MOVE) * self._fps
        if not less and not (more and now - self._page_at > MORE_EVERY_S):
            return False
        self._cap, self._fps, self._page_at = cap, fps, now
        return True

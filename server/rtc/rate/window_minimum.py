"""Minimum of the values of the last seconds, which is the delay of an empty path. Pure."""

from __future__ import annotations

import math
from collections import deque


class WindowMinimum:
    """Keeps one minimum per second, so that a window of n seconds holds n numbers at any rate.

    `value` is the minimum over the window; infinite before the first value.
    """

    __slots__ = ("_minima", "_seconds", "value")

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        # (second, smallest in it), oldest first.
        self._minima: deque[tuple[int, float]] = deque(maxlen=seconds)
        self.value = math.inf

    def add(self, now: float, value: float) -> float:
        """Add a value and return the new minimum.

        `now`: seconds, which never decrease by a whole second.
        """
        second = math.floor(now)
        minima = self._minima
        if minima and minima[-1][0] >= second:
            if value < minima[-1][1]:
                minima[-1] = (minima[-1][0], value)
                self.value = min(self.value, value)
        else:
            minima.append((second, value))
            while minima[0][0] <= second - self._seconds:
                minima.popleft()
            self.value = min(smallest for _, smallest in minima)
        return self.value

    def clear(self) -> None:
        self._minima.clear()
        self.value = math.inf

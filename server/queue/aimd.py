"""A share of something that others use too: it grows by addition, and halves. Pure.

Additive increase and multiplicative decrease, as of TCP's congestion control (RFC 5681): whoever
shares a server so needs to know nobody else, and all come to equal shares.
"""

from __future__ import annotations

import math

# Seconds without an event after which it grows by itself
_IDLE_SECONDS = 10.0


class Aimd:
    """A number from `least` to `most`, which is its first value.

    `idle_gain`: gained each second when nothing has happened for 10 s. `now` is in seconds of any
    steady clock.
    """

    def __init__(self, least: float, most: float, *, idle_gain: float) -> None:
        self._least, self._most, self._idle_gain = least, most, idle_gain
        self._value = most
        # The last event, and the last time that it halved
        self.event_at = self.halved_at = -math.inf

    def value(self, now: float) -> float:
        idle = max(0.0, now - self.event_at - _IDLE_SECONDS)
        return min(self._most, self._value + self._idle_gain * idle)

    def grow(self, by: float, now: float) -> None:
        self._value, self.event_at = min(self._most, self.value(now) + by), now

    def halve(self, now: float, *, pause: float) -> bool:
        """Halve it, unless it did less than `pause` seconds ago; return whether it did."""
        self._value, self.event_at = self.value(now), now
        if now - self.halved_at < pause:
            return False
        self._value, self.halved_at = max(self._least, self._value / 2), now
        return True

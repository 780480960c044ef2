"""Token bucket: limits the rate and the burst of events."""

from __future__ import annotations


class Bucket:
    """Allows `rate` events per second and `burst` at once; `now` is monotonic seconds."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level = float(burst)
        self._at = now
        # Refused events
        self.refused = 0

    def take(self, now: float) -> bool:
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            self.refused += 1
            return False
        self._level -= 1
        return True

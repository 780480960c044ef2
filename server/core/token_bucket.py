"""Token bucket: limits the rate and the burst of events."""

from __future__ import annotations

from collections.abc import Iterable


class Bucket:
    """Allows `rate` events per second and `burst` at once; `now` is monotonic seconds."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level = float(burst)
        self._at = now
        # Refused events
        self.refused = 0

    def take(self, now: float) -> bool:
        if not self.ready(now):
            self.refused += 1
            return False
        self._level -= 1
        return True

    def ready(self, now: float) -> bool:
        """Find whether one event would be allowed, and take none."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level >= 1


def take_all(buckets: Iterable[Bucket], now: float) -> bool:
    """Take an event from each bucket, or from none when one of them refuses."""
    some = tuple(buckets)
    return all(one.ready(now) for one in some) and all(one.take(now) for one in some)

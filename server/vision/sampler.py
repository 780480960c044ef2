"""Choosing frames at a steady rate, by their capture time."""

from __future__ import annotations

MIN_RATE = 0.1
MAX_RATE = 30.0
# Shares of the period: how much early a frame may be (jitter must not cost a frame), and how close
# behind the last one a late one may come (catching up must not be a burst).
_EARLY = 0.25
_CLOSEST = 0.5


class Sampler:
    """Takes frames on a grid of 1/rate seconds: no drift, no bursts. One camera, one caller.

    A camera slower than the rate gets each of its frames taken.
    """

    def __init__(self, rate: float) -> None:
        self._period = 1 / _checked(rate)
        # Capture time of the last frame taken; None before the first.
        self._last: float | None = None
        # The grid point that the next frame is taken for, in capture time.
        self._due = 0.0

    @property
    def rate(self) -> float:
        return 1 / self._period

    def set_rate(self, rate: float) -> None:
        """Sample at another rate from the last frame taken on. Raises ValueError outside 0.1 to 30 a second."""
        period = 1 / _checked(rate)
        if period != self._period:
            self._period = period
            if self._last is not None:
                self._due = self._last + period

    def take(self, captured: float) -> bool:
        """Whether to take the frame captured then (seconds, of any clock that stays the same)."""
        period = self._period
        if self._last is None or self._last - captured > period:
            # The first frame, or a new clock: a stream that began anew.
            return self._took(captured, captured + period)
        if captured < self._due - _EARLY * period or captured < self._last + _CLOSEST * period:
            return False
        if captured - self._due >= period:
            # A whole period late: the camera is slower than the rate, or paused. What was missed stays missed.
            return self._took(captured, captured + period)
        return self._took(captured, self._due + period)

    def _took(self, captured: float, due: float) -> bool:
        self._last, self._due = captured, due
        return True


def _checked(rate: float) -> float:
    if not MIN_RATE <= rate <= MAX_RATE:
        raise ValueError(
            f"a sample rate of {rate} frames a second was given; {MIN_RATE} to {MAX_RATE:.0f} is allowed"
        )
    return rate

"""Select frames at a steady rate by their capture time. Pure."""

from __future__ import annotations

MIN_RATE = 0.1
MAX_RATE = 30.0
# Shares of the period: a frame may be early by the first (jitter must not lose a frame), and must be behind the last one
# by the second (catching up must not be a burst).
_EARLY = 0.25
_CLOSEST = 0.5


class Sampler:
    """Selects frames on a grid of 1/rate seconds, without drift or bursts. One camera, one caller.

    Of a camera slower than the rate every frame is taken.
    """

    def __init__(self, rate: float) -> None:
        self._period = 1 / _checked(rate)
        # Capture time of the last frame taken; None before the first.
        self._last: float | None = None
        # Grid point of the next frame, in capture time.
        self._due = 0.0

    def set_rate(self, rate: float) -> None:
        """Change the rate from the last taken frame on. Raises ValueError outside 0.1 to 30 frames per second."""
        period = 1 / _checked(rate)
        if period != self._period:
            self._period = period
            if self._last is not None:
                self._due = self._last + period

    def take(self, captured: float) -> bool:
        """Return True when the frame captured at this time (seconds of any one clock) is to be taken."""
        period = self._period
        if self._last is None or self._last - captured > period:
            # The first frame, or a new stream with another clock.
            return self._took(captured, captured + period)
        if captured < self._due - _EARLY * period or captured < self._last + _CLOSEST * period:
            return False
        if captured - self._due >= period:
            # Late by a whole period: the camera is slower than the rate, or paused. Skip the missed grid points.
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

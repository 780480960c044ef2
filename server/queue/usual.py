"""Usual times of kinds of questions, learned from the times themselves. Pure."""

from __future__ import annotations

from collections.abc import Hashable

# Kinds of questions (by detail and reuse) that are compared each with their own; beyond, the oldest
# is dropped.
_MOST_KINDS = 64
# The usual time is followed by steps of about this share.
_STEP = 0.03
_LEAST_SECONDS = 1e-6


class UsualTimes:
    """The usual time of each kind: the one that the share `quantile` of all stays below."""

    def __init__(self, quantile: float = 0.5) -> None:
        self._up, self._down = 2 * _STEP * quantile, 2 * _STEP * (1 - quantile)
        self._usual: dict[Hashable, float] = {}

    def __len__(self) -> int:
        return len(self._usual)

    def of(self, kind: Hashable) -> float | None:
        """Return the usual time of a kind; None when there was none of it."""
        return self._usual.get(kind)

    def ratio(self, kind: Hashable, seconds: float) -> float:
        """Note a time; return how many times as long as usual it was."""
        usual = max(_LEAST_SECONDS, self._usual.pop(kind, seconds))
        self._usual[kind] = usual * (1 + self._up if seconds > usual else 1 - self._down)
        if len(self._usual) > _MOST_KINDS:
            del self._usual[next(iter(self._usual))]
        return seconds / usual

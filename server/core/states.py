"""A state that changes by listed steps only. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

S = TypeVar("S", bound=StrEnum)


class Steps(Generic[S]):
    """One thing's state. A step that is not listed is a bug, and raises."""

    def __init__(self, start: S, allowed: Mapping[S, Collection[S]]) -> None:
        """`allowed`: the states that may follow each state; those that are not listed are final."""
        self._now = start
        self._allowed = allowed

    @property
    def now(self) -> S:
        return self._now

    def to(self, state: S) -> None:
        """Take a step. Raises RuntimeError for one that is not listed."""
        if state not in self._allowed.get(self._now, ()):
            raise RuntimeError(f"{type(state).__name__}: {self._now} cannot become {state}")
        self._now = state

"""Which packets are missing, and when to ask for them. Pure: the caller gives the time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

# When a missing packet is asked for, in seconds after it was missed; aiortc alone asks once.
NACK_AT = (0.0, 0.08, 0.16, 0.32)
# At most so many sequence numbers in one NACK; the oldest first.
MAX_NACKS = 64


class _Missing:
    """A packet that others overtook."""

    __slots__ = ("asked", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        # How many of `NACK_AT` are done.
        self.asked = 0


class MissingPackets:
    """Unwrapped sequence numbers in growing order, each with its own times. Its owner bounds how many."""

    __slots__ = ("_missing", "due")

    def __init__(self) -> None:
        self._missing: dict[int, _Missing] = {}
        # When `take_due` has something next; infinite when it never has, in the past when it has now.
        self.due = math.inf

    def __len__(self) -> int:
        return len(self._missing)

    def __iter__(self) -> Iterator[int]:
        return iter(self._missing)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._missing

    def append(self, first: int, end: int, now: float) -> None:
        """From `first` up to before `end`, all newer than those known."""
        if len(self._missing) < MAX_NACKS:
            self.due = min(self.due, now)
        for sequence in range(first, end):
            self._missing[sequence] = _Missing(now)

    def prepend(self, first: int, end: int, now: float) -> None:
        """The same, all older than those known."""
        self._missing = {sequence: _Missing(now) for sequence in range(first, end)} | self._missing
        self.due = min(self.due, now)

    def remove(self, sequence: int) -> None:
        """It came or was given up."""
        if len(self._missing) > MAX_NACKS:
            self.due = 0.0  # A younger one moves up.
        del self._missing[sequence]
        if not self._missing:
            self.due = math.inf

    def oldest(self) -> float:
        """Since when the oldest is missing. There must be one."""
        return next(iter(self._missing.values())).since

    def take_due(self, now: float) -> list[int]:
        """The 16 bits of those to ask for now, at most `MAX_NACKS`; counts as asking."""
        ask: list[int] = []
        due = math.inf
        for sequence, missing in islice(self._missing.items(), MAX_NACKS):
            asked = missing.asked
            while asked < len(NACK_AT) and now >= missing.since + NACK_AT[asked]:
                asked += 1
            if asked > missing.asked:
                missing.asked = asked
                ask.append(sequence & 0xFFFF)
            if asked < len(NACK_AT):
                due = min(due, missing.since + NACK_AT[asked])
        self.due = due
        return ask

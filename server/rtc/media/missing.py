"""Track missing packets and the times to request them. Pure: the caller gives the time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

# Times of the requests for a packet, seconds after it was found missing; aiortc itself requests once.
NACK_AT = (0.0, 0.08, 0.16, 0.32)
# Most sequence numbers in one NACK, oldest first.
MAX_NACKS = 64


class _Missing:
    """A packet that is missing although a later one has arrived."""

    __slots__ = ("asked", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        # Requests of `NACK_AT` made so far.
        self.asked = 0


class MissingPackets:
    """Missing unwrapped sequence numbers in ascending order, each with its own times. The owner bounds their number."""

    __slots__ = ("_missing", "due")

    def __init__(self) -> None:
        self._missing: dict[int, _Missing] = {}
        # Time at which `take_due` next returns a number; infinite for never, in the past for now.
        self.due = math.inf

    def __len__(self) -> int:
        return len(self._missing)

    def __iter__(self) -> Iterator[int]:
        return iter(self._missing)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._missing

    def append(self, first: int, end: int, now: float) -> None:
        """Add `first` up to but not including `end`, all newer than the known ones."""
        if len(self._missing) < MAX_NACKS:
            self.due = min(self.due, now)
        for sequence in range(first, end):
            self._missing[sequence] = _Missing(now)

    def prepend(self, first: int, end: int, now: float) -> None:
        """Add `first` up to but not including `end`, all older than the known ones."""
        self._missing = {sequence: _Missing(now) for sequence in range(first, end)} | self._missing
        self.due = min(self.due, now)

    def remove(self, sequence: int) -> None:
        """Remove a number: its packet arrived or was given up."""
        if len(self._missing) > MAX_NACKS:
            self.due = 0.0  # A newer one comes within the limit.
        del self._missing[sequence]
        if not self._missing:
            self.due = math.inf

    def oldest(self) -> float:
        """Return the time at which the oldest was found missing. There must be one."""
        return next(iter(self._missing.values())).since

    def take_due(self, now: float) -> list[int]:
        """Return the 16-bit numbers to request now, at most `MAX_NACKS`, and count them as requested."""
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

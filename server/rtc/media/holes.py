"""Track missing packets, the times to request them, and the packets that wait behind.

Pure: the caller gives the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from server.rtc.media.packet import Packet

# Times of the requests for a packet, seconds after it was found missing; aiortc itself requests
# once.
NACK_AT = (0.0, 0.08, 0.16, 0.32)
# Age at which a missing packet is given up; it leaves time to answer the last request.
HOLE_S = 0.45
# A whole key frame behind a hole replaces all that the hole holds back: at once when deltas are
# useless anyway, else after this time, so that reordered packets cost nothing.
KEY_GRACE_S = 0.02
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
    """Missing unwrapped sequence numbers in ascending order, each with its own times.

    The owner bounds their number.
    """

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
        """Return the 16-bit numbers to request now, at most `MAX_NACKS`, and count them as
        requested.
        """
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


class PacketsAhead(dict[int, Packet]):
    """Packets that wait behind a missing one, by unwrapped sequence number, and the first whole key
    frame among them.

    The owner bounds it and takes packets from its lower end. `markers`: True when a marker bit
    closes a frame (see `Assembler`).
    """

    __slots__ = ("_keys", "end", "size", "whole_key")

    def __init__(self) -> None:
        super().__init__()
        # Bytes of payload in all of them.
        self.size = 0
        # One past the newest number; undefined while empty.
        self.end = 0
        # Sequence number of a packet of a whole key frame; None without one.
        self.whole_key: int | None = None
        # Timestamp of each key frame to the number of a packet that proves it.
        self._keys: dict[int, int] = {}

    def keep(self, sequence: int, packet: Packet, markers: bool) -> None:
        """Store a packet, and check if it makes a key frame whole."""
        self[sequence] = packet
        self.size += len(packet.data)
        if packet.key:
            self._keys.setdefault(packet.timestamp, sequence)
        if self._keys and self.whole_key is None:
            # Only a frame's last packet, its first, or a late one can do so.
            before = self.get(sequence - 1)
            if (
                packet.marker
                or sequence != self.end - 1
                or before is None
                or before.timestamp != packet.timestamp
            ):
                self._find_whole_key(markers)

    def take(self, sequence: int) -> Packet | None:
        """Remove and return a packet; None when absent. Call `taken` after the last of a series."""
        packet = self.pop(sequence, None)
        if packet is not None:
            self.size -= len(packet.data)
            if packet.key and self._keys.get(packet.timestamp) == sequence:
                del self._keys[packet.timestamp]
        return packet

    def taken(self, first: int, markers: bool) -> None:
        """Find the next whole key frame after all packets before `first` were taken."""
        if self.whole_key is not None and self.whole_key < first:
            self.whole_key = None
        if self._keys and self.whole_key is None:
            self._find_whole_key(markers)

    def newest(self) -> Packet:
        """Return the newest packet. There must be one."""
        return self[self.end - 1]

    def _find_whole_key(self, markers: bool) -> None:
        """Find the oldest whole key frame; visits each packet about once."""
        whole = (key for key in self._keys.values() if self._is_whole(key, markers))
        self.whole_key = min(whole, default=None)

    def _is_whole(self, sequence: int, markers: bool) -> bool:
        timestamp = self[sequence].timestamp
        first = sequence
        while not self[first].start:
            before = self.get(first - 1)
            if before is None:
                return False
            if before.data and (before.timestamp != timestamp or (before.marker and markers)):
                break
            first -= 1
        last = sequence
        while not (markers and self[last].marker and self[last].data):
            last += 1
            after = self.get(last)
            if after is None:
                return False
            if after.data and after.timestamp != timestamp:
                break
        return True


def hole_due(missing: MissingPackets, ahead: PacketsAhead) -> float:
    """Return the time at which the oldest hole is given up. There must be one."""
    return missing.oldest() + (HOLE_S if ahead.whole_key is None else KEY_GRACE_S)

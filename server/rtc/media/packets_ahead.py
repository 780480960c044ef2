"""Packets that wait behind a missing one, and the first whole key frame among them. Pure."""

from __future__ import annotations

from server.rtc.media.packet import Packet


class PacketsAhead(dict[int, Packet]):
    """Waiting packets by unwrapped sequence number. The owner bounds it and takes packets from its lower end.

    `markers`: True when a marker bit closes a frame (see `Assembler`).
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

"""Packets that wait behind a hole, and a whole key frame among them. Pure."""

from __future__ import annotations

from server.rtc.media.packet import Packet


class PacketsAhead(dict[int, Packet]):
    """By unwrapped sequence number. Its owner bounds it, and empties it from its lower end.

    `markers` of its methods: whether a marker bit closes a frame (see `Assembler`).
    """

    __slots__ = ("_keys", "end", "size", "whole_key")

    def __init__(self) -> None:
        super().__init__()
        # Bytes of payload in all of them.
        self.size = 0
        # One past the newest of them; means nothing without any.
        self.end = 0
        # A packet of a key frame that is all here; None when there is none.
        self.whole_key: int | None = None
        # Packets that prove a key frame, one for each timestamp.
        self._keys: dict[int, int] = {}

    def keep(self, sequence: int, packet: Packet, markers: bool) -> None:
        """Hold one, and see whether it makes a key frame whole."""
        self[sequence] = packet
        self.size += len(packet.data)
        if packet.key:
            self._keys.setdefault(packet.timestamp, sequence)
        if self._keys and self.whole_key is None:
            # Only a last packet, a first packet or one that came late can do so.
            before = self.get(sequence - 1)
            if (
                packet.marker
                or sequence != self.end - 1
                or before is None
                or before.timestamp != packet.timestamp
            ):
                self._find_whole_key(markers)

    def take(self, sequence: int) -> Packet | None:
        """Give one away; None when it is not here. `taken` has to follow once all are taken that can be."""
        packet = self.pop(sequence, None)
        if packet is not None:
            self.size -= len(packet.data)
            if packet.key and self._keys.get(packet.timestamp) == sequence:
                del self._keys[packet.timestamp]
        return packet

    def taken(self, first: int, markers: bool) -> None:
        """Those before `first` are gone."""
        if self.whole_key is not None and self.whole_key < first:
            self.whole_key = None
        if self._keys and self.whole_key is None:
            self._find_whole_key(markers)

    def newest(self) -> Packet:
        """There must be one."""
        return self[self.end - 1]

    def _find_whole_key(self, markers: bool) -> None:
        """Bounded: each packet is looked at about once."""
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

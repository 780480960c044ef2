"""The packets of one frame: their spread in time when sent and on arrival. Pure."""

from __future__ import annotations

# IP, UDP and SRTP on top of each RTP packet's payload, bytes.
OVERHEAD = 40
# Upper bound of the correction for lost packets: a frame that lost more than half of them proves
# less.
LOST_TOP = 2.0
# Lower bound of the spread in a rate: packets read at once have no smaller one.
SPREAD_LOW_S = 1e-4
# abs-send-time wraps after this time.
SEND_WRAP_S = 64.0


class Train:
    """Packets of one RTP timestamp, each once and in the order of arrival. Times are seconds.

    The first packet starts the measurement, so its bits do not count.
    """

    __slots__ = (
        "_bytes",
        "_first_arrival",
        "_first_sent",
        "_first_sequence",
        "_last_sequence",
        "_longest_bytes",
        "_longest_gap",
        "_sent_max",
        "_sent_min",
        "closed",
        "last_arrival",
        "packets",
    )

    def __init__(self) -> None:
        self.packets = 0
        # True after its marker: later packets of this timestamp were overtaken, and are ignored.
        self.closed = True
        self._bytes = 0
        self._first_arrival = self.last_arrival = 0.0
        # The minimum and maximum are relative to the first.
        self._first_sent = self._sent_min = self._sent_max = 0.0
        self._first_sequence = self._last_sequence = 0
        # The longest time between two arrivals, and the bytes that came with the later one.
        self._longest_gap = 0.0
        self._longest_bytes = 0

    def begin(self, now: float, sent: float, sequence: int | None) -> None:
        self.packets = 1
        self.closed = False
        self._bytes = 0
        self._first_arrival = self.last_arrival = now
        self._first_sent = sent
        self._sent_min = self._sent_max = 0.0
        self._first_sequence = self._last_sequence = sequence or 0
        self._longest_gap = 0.0
        self._longest_bytes = 0

    def add(self, now: float, sent: float | None, size: int, sequence: int | None) -> None:
        """Add a packet.

        `size`: bytes of payload; `sent`: None when the packets have none; `sequence`: 16 bits.
        """
        size += OVERHEAD
        self.packets += 1
        self._bytes += size
        gap = now - self.last_arrival
        if gap > self._longest_gap:
            self._longest_gap = gap
            self._longest_bytes = size
        self.last_arrival = now
        if sequence is not None and (sequence - self._last_sequence) & 0xFFFF < 0x8000:
            self._last_sequence = sequence
        if sent is not None:
            after = sent - self._first_sent
            if after > SEND_WRAP_S / 2:
                after -= SEND_WRAP_S
            elif after < -SEND_WRAP_S / 2:
                after += SEND_WRAP_S
            if after > self._sent_max:
                self._sent_max = after
            elif after < self._sent_min:
                self._sent_min = after

    @property
    def spread(self) -> float:
        """Seconds from the first arrival to the last."""
        return self.last_arrival - self._first_arrival

    @property
    def sent_spread(self) -> float:
        """Seconds from the first send time to the last."""
        return self._sent_max - self._sent_min

    @property
    def bits(self) -> float:
        """Bits that the path carried after the first packet.

        Lost packets count with the mean size, unless they were the last ones: they used the path,
        too.
        """
        steps = (self._last_sequence - self._first_sequence) & 0xFFFF
        return 8 * self._bytes * min(max(1.0, steps / (self.packets - 1)), LOST_TOP)

    def rate(self) -> float:
        """Return the rate on arrival, bit/s."""
        return self.bits / max(self.spread, SPREAD_LOW_S)

    def steady_rate(self) -> float:
        """Return the rate without the longest gap, so that one late packet or a stalled reader does
        not count.
        """
        bits = 8 * (self._bytes - self._longest_bytes)
        return bits / max(self.spread - self._longest_gap, SPREAD_LOW_S)

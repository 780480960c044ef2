"""The packets of one frame on their way in: how far they were spread when sent, and on arrival. Pure."""

from __future__ import annotations

# IP, UDP and SRTP on top of each RTP packet's payload, bytes.
OVERHEAD = 40
# Of a frame with more than half of its packets lost the rest tells less than it seems.
LOST_TOP = 2.0
# The shortest spread that a rate is computed from: packets read at once tell no more.
SPREAD_LOW_S = 1e-4
# abs-send-time wraps after so long.
SEND_WRAP_S = 64.0


class Train:
    """Packets of one RTP timestamp, each once and in the order of arrival. Times are seconds.

    The first packet starts the clock, so it counts in no sum of bits.
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
        # Its marker came: what follows with its timestamp was overtaken and tells nothing.
        self.closed = True
        self._bytes = 0
        self._first_arrival = self.last_arrival = 0.0
        # Send times but the first are relative to it.
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
        """`size`: bytes of payload; `sent`: None where packets do not tell it; `sequence`: 16 bits."""
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
        """Seconds over which they were sent."""
        return self._sent_max - self._sent_min

    @property
    def bits(self) -> float:
        """That the path carried after the first packet.

        Lost ones (as large as the others) took their time on the path too, if they were not the last.
        """
        steps = (self._last_sequence - self._first_sequence) & 0xFFFF
        return 8 * self._bytes * min(max(1.0, steps / (self.packets - 1)), LOST_TOP)

    def rate(self) -> float:
        """Bits a second on arrival."""
        return self.bits / max(self.spread, SPREAD_LOW_S)

    def steady_rate(self) -> float:
        """The same without the longest gap: one packet that came late, or a reader that slept, does not count."""
        bits = 8 * (self._bytes - self._longest_bytes)
        return bits / max(self.spread - self._longest_gap, SPREAD_LOW_S)

"""What goes into an assembler and what comes out of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


class Packet:
    """One RTP packet, depacketised. It belongs to the assembler once added."""

    __slots__ = ("arrived", "data", "key", "marker", "sequence", "start", "timestamp")

    def __init__(
        self, sequence: int, timestamp: int, marker: bool, data: bytes, start: bool, key: bool
    ) -> None:
        self.sequence = sequence
        self.timestamp = timestamp
        self.marker = marker
        # Empty for padding.
        self.data = data
        # See `payload.Payload`: true is certain, false says nothing.
        self.start = start
        self.key = key
        # Monotonic seconds, set when added.
        self.arrived = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """A whole frame as the decoder takes it."""

    data: bytes
    # RTP timestamp, 32 bits, as it came.
    timestamp: int
    key: bool
    # Arrival of its earliest and latest packet, monotonic seconds.
    first_arrival: float
    last_arrival: float


def newer(timestamp: int, than: int) -> int:
    """Signed distance of two 32-bit RTP timestamps."""
    return ((timestamp - than + 0x80000000) & 0xFFFFFFFF) - 0x80000000

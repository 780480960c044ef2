"""The assembler's input (RTP packets) and output (encoded frames). Pure."""

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
        # See `payload.Payload`: True is certain, False means unknown.
        self.start = start
        self.key = key
        # Monotonic seconds, set by the assembler.
        self.arrived = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class EncodedFrame:
    """A whole frame as the decoder takes it."""

    data: bytes
    # RTP timestamp, 32 bits as on the wire.
    timestamp: int
    key: bool
    # Arrival of its earliest packet, monotonic seconds.
    first_arrival: float


def newer(timestamp: int, than: int) -> int:
    """Return the signed distance of two 32-bit RTP timestamps, positive when `timestamp` is newer."""
    return ((timestamp - than + 0x80000000) & 0xFFFFFFFF) - 0x80000000

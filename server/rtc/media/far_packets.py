"""Tell a sender's restart within one SSRC from old duplicates. Pure: without a clock."""

from __future__ import annotations

from server.rtc.media.packet import Packet

# A sequence number this far away means that the sender restarted, once a run of such packets
# arrives: a short run when their timestamps are the newest, a longer one when they may be old
# duplicates.
FAR = 3000
RESTART_RUN = 3
RESTART_RUN_OLD = 16


class FarPackets:
    """Consecutive packets from far away: together they may be a restart of the sender.

    At most `RESTART_RUN_OLD` are held.
    """

    __slots__ = ("_packets",)

    def __init__(self) -> None:
        self._packets: list[Packet] = []

    def __bool__(self) -> bool:
        return bool(self._packets)

    def continued_by(self, packet: Packet) -> bool:
        """Return True when a packet follows the last one, or none is held."""
        return not self._packets or packet.sequence == (self._packets[-1].sequence + 1) & 0xFFFF

    def add(self, packet: Packet, newest: bool) -> list[Packet] | None:
        """Add a packet that continues the run; return the run when it shows a restart.

        `newest`: its timestamp is newer than all before.
        """
        self._packets.append(packet)
        run = RESTART_RUN if newest else RESTART_RUN_OLD
        return self._packets if len(self._packets) >= run else None

    def forget(self) -> int:
        """Drop the run and return its length."""
        dropped, self._packets = len(self._packets), []
        return dropped

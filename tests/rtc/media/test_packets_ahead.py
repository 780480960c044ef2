"""Packets behind a hole; what the assembler makes of them is tests/rtc/media/test_assemble.py's."""

from __future__ import annotations

import pytest

from server.rtc.media.packet import Packet
from server.rtc.media.packets_ahead import PacketsAhead


def packet(
    sequence: int, timestamp: int, *, key: bool = False, start: bool = False, marker: bool = False
) -> Packet:
    return Packet(sequence, timestamp, marker, b"1234", start, key)


def held(*packets: Packet, markers: bool = True) -> PacketsAhead:
    """As after these came, in this order."""
    ahead = PacketsAhead()
    for one in packets:
        ahead.end = max(ahead.end, one.sequence + 1)
        ahead.keep(one.sequence, one, markers)
    return ahead


FIRST = packet(5, 90, key=True, start=True)
MIDDLE = packet(6, 90)
LAST = packet(7, 90, marker=True)
NEXT = packet(8, 180, start=True)


@pytest.mark.parametrize(
    "order", [(FIRST, MIDDLE, LAST), (LAST, MIDDLE, FIRST), (FIRST, LAST, MIDDLE)]
)
def test_a_key_frame_is_whole_with_its_last_packet(order: tuple[Packet, ...]) -> None:
    """In whatever order its packets come, and not before all are there."""
    assert held(*order[:2]).whole_key is None
    assert held(*order).whole_key == 5


def test_without_markers_the_next_frame_shows_the_end() -> None:
    """A sender that marks each slice ends no frame by it."""
    assert held(FIRST, MIDDLE, LAST, markers=False).whole_key is None
    assert held(FIRST, MIDDLE, LAST, NEXT, markers=False).whole_key == 5


def test_what_is_taken_is_no_longer_counted() -> None:
    """Bytes go with their packets, and so does a key frame whose beginning was taken; a younger one is found."""
    ahead = held(FIRST, MIDDLE, LAST, packet(8, 180, key=True, start=True, marker=True))
    assert (ahead.size, ahead.whole_key, ahead.newest().sequence) == (16, 5, 8)
    assert ahead.take(4) is None
    assert ahead.take(5) is FIRST
    ahead.taken(6, True)
    assert (ahead.size, len(ahead), ahead.whole_key) == (12, 3, 8)

"""Missing packets and when they are asked for, and those behind; what the assembler makes of them
is test_assemble.py's.
"""

from __future__ import annotations

import math

import pytest

from server.media.video.assemble import MAX_NACKS, MissingPackets, PacketsAhead
from server.media.video.payload import Packet


def test_each_is_asked_for_four_times() -> None:
    """At once, and 80, 160 and 320 ms after it was missed; at exactly the moments announced."""
    missing = MissingPackets()
    assert missing.due == math.inf
    missing.append(70_000, 70_002, 5.0)
    times = []
    while missing.due < math.inf:
        now = missing.due
        assert missing.take_due(now - 1e-6) == []
        missing.due = now
        assert missing.take_due(now) == [4464, 4465]
        times.append(now)
    assert times == pytest.approx([5.0, 5.08, 5.16, 5.32])
    assert len(missing) == 2


def test_a_late_call_asks_once_for_what_was_due_in_between() -> None:
    """A stalled event loop is no reason for a burst of NACKs."""
    missing = MissingPackets()
    missing.append(1, 2, 0.0)
    assert missing.take_due(0.2) == [1]
    assert missing.take_due(0.2) == []
    assert missing.due == pytest.approx(0.32)


def test_the_younger_move_up_when_older_ones_come() -> None:
    """Beyond the bound they wait, and then are due at once."""
    missing = MissingPackets()
    missing.append(0, MAX_NACKS + 3, 0.0)
    assert missing.take_due(0.0) == list(range(MAX_NACKS))
    missing.append(MAX_NACKS + 5, MAX_NACKS + 6, 0.01)
    assert missing.due == pytest.approx(0.08)
    missing.remove(7)
    missing.remove(0)
    assert missing.take_due(0.02) == [MAX_NACKS, MAX_NACKS + 1]


def test_older_ones_go_first() -> None:
    """A number before the others is requested first, though it was found missing later."""
    missing = MissingPackets()
    missing.append(10, 12, 0.0)
    assert missing.take_due(0.0) == [10, 11]
    missing.prepend(7, 9, 0.01)
    assert list(missing) == [7, 8, 10, 11]
    assert missing.oldest() == 0.01
    assert missing.take_due(0.01) == [7, 8]
    for sequence in (7, 8, 10, 11):
        missing.remove(sequence)
    assert (len(missing), missing.due, 7 in missing) == (0, math.inf, False)


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
    """Bytes go with their packets, and so does a key frame whose beginning was taken; a younger one
    is found.
    """
    ahead = held(FIRST, MIDDLE, LAST, packet(8, 180, key=True, start=True, marker=True))
    assert (ahead.size, ahead.whole_key, ahead.newest().sequence) == (16, 5, 8)
    assert ahead.take(4) is None
    assert ahead.take(5) is FIRST
    ahead.taken(6, True)
    assert (ahead.size, len(ahead), ahead.whole_key) == (12, 3, 8)

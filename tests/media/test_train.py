from __future__ import annotations

import pytest

from server.media.path_rate import OVERHEAD, Train


def train(arrivals: list[float], *, lost: int = 0, sent: list[float] | None = None) -> Train:
    """Packets of 1000 bytes; `lost` sequence numbers are missing before the last."""
    made = Train()
    for n, at in enumerate(arrivals):
        number = (65_530 + n + (lost if n == len(arrivals) - 1 else 0)) & 0xFFFF
        when = None if sent is None else sent[n]
        if n == 0:
            made.begin(at, when or 0.0, number)
        else:
            made.add(at, when, 1000, number)
    return made


BITS = 8 * (1000 + OVERHEAD)


def test_the_rate_counts_all_but_the_first_packet() -> None:
    """Four packets in 30 ms are three in 30 ms."""
    four = train([5.0, 5.01, 5.02, 5.03])
    assert four.packets == 4
    assert four.rate() == pytest.approx(3 * BITS / 0.03)


def test_lost_packets_took_their_time_too_up_to_as_many_again() -> None:
    """Sequence numbers wrap."""
    assert train([0, 0.01, 0.03], lost=1).rate() == pytest.approx(3 * BITS / 0.03)
    assert train([0, 0.01, 0.03], lost=50).rate() == pytest.approx(4 * BITS / 0.03)


def test_the_steady_rate_leaves_the_longest_gap_out() -> None:
    """One late packet makes a train slow, not steadily slow."""
    assert train([0, 0.01, 0.11, 0.12]).steady_rate() == pytest.approx(2 * BITS / 0.02)
    assert train([0, 0, 0, 0]).steady_rate() > 1e6


def test_send_times_wrap_and_may_change_places() -> None:
    """abs-send-time starts again after 64 s."""
    wrapped = train([0, 0.01, 0.02], sent=[63.99, 0.01, 63.98])
    assert wrapped.sent_spread == pytest.approx(0.03)
    assert train([0, 0.01]).sent_spread == 0.0

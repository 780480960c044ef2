from __future__ import annotations

import random

import pytest

from benchmarks.link import HEADERS, GreedyFlow, Link, SteadyFlow


def test_a_line_of_fixed_rate_delays_by_size_and_drops_what_would_wait_too_long() -> None:
    """Ten packets at once on 500 kbit/s leave one by one; those beyond the queue are dropped."""
    link, rng = Link(rate=500_000, delay=0.02, queue=0.1), random.Random(0)
    each = 8 * (1200 + HEADERS) / 500_000
    times = [link.due(10.0, 1200, rng) for _ in range(10)]
    kept = [at for at in times if at is not None]
    assert kept == pytest.approx([10.02 + each * (i + 1) for i in range(len(kept))])
    assert len(kept) == 6
    assert link.dropped_full == 4


def test_loss_and_cuts_are_counted() -> None:
    """A tenth is lost at ten percent; a cut link lets nothing through."""
    link, rng = Link(loss=0.1), random.Random(3)
    lost = sum(link.due(0.0, 100, rng) is None for _ in range(2000))
    assert 150 < lost < 250
    link.cut = True
    assert link.due(0.0, 100, rng) is None
    assert link.dropped_lost == lost + 1


def test_jitter_keeps_the_order_unless_it_may_not() -> None:
    """Exponential with the mean asked for; with `reorder` packets overtake each other."""
    rng = random.Random(1)
    link = Link(jitter=0.01)
    times = [link.due(n * 0.001, 100, rng) or 0.0 for n in range(500)]
    assert times == sorted(times)
    link = Link(jitter=0.01, reorder=True)
    times = [link.due(n * 0.001, 100, rng) or 0.0 for n in range(2000)]
    assert times != sorted(times)
    assert sum(at - n * 0.001 for n, at in enumerate(times)) / 2000 == pytest.approx(0.01, rel=0.1)


def test_a_steady_flow_takes_its_share_of_the_line() -> None:
    """Between its start and stop only."""
    link, rng = Link(rate=1e6, flow=SteadyFlow(5e5, start=1.0, stop=2.0)), random.Random(0)
    for n in range(300):
        link.due(n * 0.01, 0, rng)
    waits = [(link.due(3.0 + n, 1000, rng) or 0.0) - 3.0 - n for n in range(2)]
    assert waits == pytest.approx([8 * (1000 + HEADERS) / 1e6] * 2)
    other = Link(rate=1e6, flow=SteadyFlow(5e5))
    other.due(0.0, 0, rng)
    at = other.due(1.0, 1000, rng)
    assert at is not None
    assert at - 1.0 >= 8 * (1000 + HEADERS) / 1e6


@pytest.mark.parametrize("rate", [1e6, 20e6])
def test_a_greedy_flow_fills_the_line_and_backs_off_when_packets_are_lost(rate: float) -> None:
    """It takes over 90 % of a line with a queue of 300 ms, loses under 2 %, and stops when told."""
    flow = GreedyFlow(start=1.0, stop=21.0)
    link, rng = Link(rate=rate, flow=flow), random.Random(0)
    queues = []
    for n in range(2500):
        link.due(n * 0.01, 0, rng)
        queues.append(max(0.0, link.free_at - n * 0.01))
    carried = 8 * 1500 * (flow.sent - flow.lost) / 20
    assert 0.9 * rate < carried <= 1.02 * rate
    assert 0 < flow.lost < 0.02 * flow.sent
    assert max(queues) == pytest.approx(0.3, abs=0.03)
    assert queues[2400] == pytest.approx(0.0, abs=0.01)

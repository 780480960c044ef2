"""Times of questions are fixed by the seed, and form a Poisson process."""

from __future__ import annotations

import statistics
from itertools import pairwise

import pytest

from scripts.bench.open_loop import QUESTIONS, poisson


def test_the_same_seed_gives_the_same_arrivals() -> None:
    """Times and questions, number by number; another seed gives others."""
    assert poisson(50, 2.0, 7) == poisson(50, 2.0, 7)
    assert poisson(50, 2.0, 7) != poisson(50, 2.0, 8)
    assert poisson(20, 2.0, 7) == poisson(50, 2.0, 7)[:20]


def test_gaps_are_exponential() -> None:
    """Mean and standard deviation are both one over the rate; order is kept; every question comes."""
    plan = poisson(5000, 4.0, 1)
    times = [0.0, *(planned.at for planned in plan)]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) > 0
    assert statistics.fmean(gaps) == pytest.approx(0.25, rel=0.05)
    assert statistics.pstdev(gaps) == pytest.approx(0.25, rel=0.05)
    assert {planned.text for planned in plan} == set(QUESTIONS)
    assert [planned.number for planned in plan] == list(range(5000))

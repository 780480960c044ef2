"""The hour of all programs: its figures from what was measured."""

from __future__ import annotations

import argparse

import pytest

from benchmarks.programs_hour import Run, Tally, report, resident, slope


def test_growth_is_a_slope() -> None:
    assert slope([(0.0, 100.0), (1800.0, 101.0), (3600.0, 102.0)]) == pytest.approx(2.0)
    assert slope([(5.0, 1.0)]) == slope([]) == slope([(5.0, 1.0), (5.0, 2.0)]) == 0.0


def test_the_report_says_what_is_beyond_its_target() -> None:
    """People who wait longer beside programs, and a program that looked more often than it may."""
    args = argparse.Namespace(minutes=1.0, people=1, every=4.0, phase_seconds=30.0)
    run = Run(beside=30.0, memory=[(0.0, 1.0), (10.0, resident(1) + 5)])
    run.first[0].extend([0.1, 0.1])
    run.first[1].extend([0.13, 0.13])
    run.tallies = {"a": Tally(15, limited=True), "b": Tally(16, limited=True), "c": Tally(999)}
    found = {row.what: row for row in report(run, args).rows}
    assert found["p50 with / without"].reached is False
    assert (found["a"].reached, found["b"].reached, found["c"].reached) == (True, False, None)

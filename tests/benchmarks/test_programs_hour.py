"""The hour of all programs: its figures from what was measured."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import pytest

from benchmarks.programs_hour import (
    Limited,
    Run,
    Tally,
    Unclear,
    descendants,
    limited,
    report,
    slope,
)

ARGS = argparse.Namespace(minutes=1.0, people=1, every=4.0, phase_seconds=30.0)


def test_growth_is_a_slope() -> None:
    assert slope([(0.0, 100.0), (1800.0, 101.0), (3600.0, 102.0)]) == pytest.approx(2.0)
    assert slope([(5.0, 1.0)]) == slope([]) == slope([(5.0, 1.0), (5.0, 2.0)]) == 0.0


def test_the_report_says_what_is_beyond_its_target() -> None:
    """People who wait longer beside programs, and a program that looked more often than it may."""
    run = Run(beside=30.0, phases=1, memory=[(0.0, 1.0), (10.0, 6.0)])
    run.first[0].extend([0.1, 0.1])
    run.first[1].extend([0.13, 0.13])
    run.tallies = {
        "a": Tally(7, refused=9, limited=True),
        "b": Tally(8, refused=9, limited=True),
        "c": Tally(999),
    }
    found = {row.what: row for row in report(run, ARGS).rows}
    assert found["p50 with / without"].reached is False
    assert (found["a"].reached, found["b"].reached, found["c"].reached) == (True, False, None)


def test_the_report_says_where_a_rate_was_not_tested() -> None:
    """A program that got less than its rate, one that never was above it, and one within it that was refused."""

    def rows(tally: Tally) -> dict[str, bool | None]:
        run = Run(beside=30.0, phases=1, memory=[(0.0, 1.0)], tallies={"a": tally})
        return {row.what: row.reached for row in report(run, ARGS).rows}

    assert rows(Tally(7, refused=1, limited=True))["of what its rate allows"] is True
    assert rows(Tally(5, refused=1, limited=True))["of what its rate allows"] is False
    assert "never above its rate" not in rows(Tally(7, refused=1, limited=True))
    assert rows(Tally(7, limited=True))["never above its rate"] is False
    assert rows(Tally(2, within=True))["of them refused for their rate"] is True
    assert rows(Tally(2, refused=1, within=True))["of them refused for their rate"] is False


def test_the_growth_counts_when_the_recent_past_is_full() -> None:
    """It grows for five minutes, then no more."""
    samples = [(float(at), 100.0 + min(at, 300)) for at in range(0, 1210, 10)]
    rows = {row.what: row.value for row in report(Run(memory=samples), ARGS).rows}
    assert rows["its growth from second 300 on"] == pytest.approx(0.0)
    assert [rows[f"memory of the server, {when}"] for when in ("start", "quarter", "end")] == [
        100.0,
        400.0,
        400.0,
    ]


@pytest.mark.parametrize(
    ("code", "wait", "fits"),
    [
        ("rate_limited", 6.0, True),
        ("rate_limited", "6", True),
        ("rate_limited", None, False),
        ("rate_limited", "soon", False),
        ("rate_limited", 0, False),
        ("busy", 6.0, False),
    ],
)
def test_a_refusal_says_when_to_ask_again(code: str, wait: object, fits: bool) -> None:
    assert type(limited(code, "rate_limited", wait)) is (Limited if fits else Unclear)


def test_memory_of_child_processes_is_seen() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert child.pid in descendants(os.getpid())
        child.communicate(b"\n")
    assert child.pid not in descendants(os.getpid())

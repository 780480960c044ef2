from __future__ import annotations

import csv
import json
import math
import resource
from pathlib import Path

import pytest

from scripts.bench.report import Report, Row, Spread, percentile


def test_percentiles_are_measured_values() -> None:
    """Nearest rank: the value that so many percent are not above."""
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, q) for q in (0, 50, 95, 100)] == [1, 3, 5, 5]
    assert percentile(list(range(1, 101)), 95) == 95
    assert math.isnan(percentile([], 50))


def test_a_row_is_reached_when_each_of_its_targets_is() -> None:
    """Upper bounds for times, a lower one for counts, nothing without a figure."""
    spread = Spread.of([10, 20, 30])
    assert Row("x", "ms", spread, target_p50=20, target_p95=30, number="2").reached is True
    assert Row("x", "ms", spread, target_p50=20, target_p95=29, number="2").reached is False
    assert Row("x", "", value=99, target=100, at_least=True, number="9").reached is False
    assert Row("x", "", value=100, target=100, at_least=True, number="9").reached is True
    assert Row("x", "ms", Spread.of([]), target_p50=20, number="2").reached is None
    assert Row("x", "ms", value=1).reached is None


def test_results_are_written_as_json_and_csv(tmp_path: Path) -> None:
    """Both files hold every row; what has no value is null."""
    report = Report("t", {"seed": 1})
    report.add(Row("typed", "ms", Spread.of([1, 2]), target_p50=35, number="2"))
    report.add(Row("none", "cameras", Spread.of([]), number="9"))
    as_json, as_csv = report.write(tmp_path, "run")
    body = json.loads(as_json.read_text())
    assert [row["reached"] for row in body["rows"]] == [True, None]
    assert body["rows"][1]["spread"]["p50"] is None
    assert body["conditions"] == {"seed": 1}
    assert [row["what"] for row in csv.DictReader(as_csv.read_text().splitlines())] == [
        "typed",
        "none",
    ]
    assert "p50 ≤ 35" in report.table()


def test_a_disk_that_is_full_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A file that cannot be written to its end is an error, and not there, not even in part."""
    report = Report("t", {"seed": 1})
    report.add(Row("typed", "ms", Spread.of([1, 2]), target_p50=35, number="2"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            report.write(tmp_path, "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []

"""Machines for a number of people: the formulas, in agreement with DEPLOY.md and with the program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import benchmark
from scripts.bench import plan as planned
from scripts.bench.plan import PROCESS_PEOPLE, SIZES, main, plan, render
from server.features.cluster.replicas import MOST_REPLICAS
from tests.support.documents import ROOT


def test_it_agrees_with_the_table_of_the_guide() -> None:
    """DEPLOY.md has the same figures for these people: GPUs, processes, memory and bandwidth."""
    text = (ROOT / "DEPLOY.md").read_text()
    rows = re.findall(
        r"^\| ([\d,]+) \| ([\d.]+) \| (\d+) \| (\d+) \| ([\d.]+) GiB \| (\d+) Mbit/s \|$",
        text,
        re.M,
    )
    assert len(rows) == 5
    for people, questions, gpus, processes, memory, bandwidth in rows:
        found = plan(int(people.replace(",", "")))
        assert found.get_value("questions") == pytest.approx(float(questions), rel=0.15)
        assert found.get_value("GPUs") == int(gpus)
        assert found.get_value("processes") == int(processes)
        # The guide rounds.
        assert found.get_value("memory") == pytest.approx(float(memory), rel=0.2)
        assert found.get_value("bandwidth in") == pytest.approx(float(bandwidth), rel=0.02, abs=1)


def test_what_breaks_first_at_each_size() -> None:
    """A GPU before a process; then the list of gateways, which more machines do not lengthen."""
    small, middle, large = (plan(people) for people in SIZES)
    assert small.first.name == "one GPU"
    assert small.first.people == 75
    assert middle.first.name == large.first.name == "the list of gateways that know each other"
    assert planned.MOST_GATEWAYS == MOST_REPLICAS
    assert middle.first.people == MOST_REPLICAS * PROCESS_PEOPLE
    assert (small.get_value("cells"), middle.get_value("cells"), large.get_value("cells")) == (
        1,
        2,
        167,
    )
    # Nothing is passed: the nearest limit is named.
    assert plan(10).first.name == "one GPU"


def test_it_is_written_with_its_formulas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the terminal and to a file: a table, each formula with its numbers, what was not measured."""
    path = tmp_path / "plan.md"
    assert benchmark.main(["--plan", "250", "--output", str(path)]) == 0
    text = capsys.readouterr().out
    assert path.read_text() == text == render([plan(250)]) + "\n"
    assert "| GPUs | 4 |" in text
    assert "questions / answers of a GPU = 8.3 / 2.5 → 4" in text
    assert "First to break: **one GPU**, at 75 people (estimated)" in text
    assert "a fleet of this size was never run" in text
    assert main(["--output", str(tmp_path / "no" / "plan.md")]) == 1
    assert "choose another --output" in capsys.readouterr().out

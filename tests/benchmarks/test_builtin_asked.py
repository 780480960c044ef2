"""The set of questions is whole, sheets hide the engine, and verdicts become figures."""

from __future__ import annotations

import pytest

from benchmarks import builtin_asked
from benchmarks.builtin_asked import VERDICTS, mark
from scripts import benchmark
from tests.features.builtin.asked.asking import ASKED, questions


def test_what_is_kept_belongs_to_the_set() -> None:
    """Each engine answered every question; each verdict is a word on one of these answers."""
    given = builtin_asked.read_answers()
    assert "before" in given
    for engine, every in given.items():
        assert every.keys() == {one.id for one in questions()}, engine
    marks = {mark(*pair) for every in given.values() for pair in every.items()}
    for every in builtin_asked.read_verdicts().values():
        assert every.keys() <= marks
        assert set(every.values()) <= set(VERDICTS)


def test_five_questions_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """By the benchmark's own option, and nothing is kept."""
    kept = sorted(ASKED.iterdir())
    assert benchmark.main(["--builtin", "--only", "5"]) == 0
    told = capsys.readouterr().out
    assert [one.id in told for one in questions()[:6]] == [True] * 5 + [False]
    assert all(line.strip() for line in told.splitlines())
    assert sorted(ASKED.iterdir()) == kept

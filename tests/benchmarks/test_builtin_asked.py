"""The set of questions is whole, sheets hide the engine, and verdicts become figures."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import builtin_asked
from benchmarks.builtin_asked import VERDICTS, keep, mark, sheet
from scripts import benchmark
from tests.features.builtin.asked.asking import ASKED, questions


def test_what_is_kept_belongs_to_the_set() -> None:
    """Each engine answered every question; each verdict is a word on one of these answers."""
    given = builtin_asked.answers()
    assert "before" in given
    for engine, every in given.items():
        assert every.keys() == {one.id for one in questions()}, engine
    marks = {mark(*pair) for every in given.values() for pair in every.items()}
    for every in builtin_asked.verdicts().values():
        assert every.keys() <= marks
        assert set(every.values()) <= set(VERDICTS)


SAID = {"before": "It is", "after": "This is"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The set with answers of two engines, which give every second question the same answer."""
    shutil.copy(ASKED / "VERDICTS", tmp_path)
    for engine in SAID:
        rows = ({"id": one.id, "answer": said(engine, n)} for n, one in enumerate(questions()))
        path = tmp_path / f"answers-{engine}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return tmp_path


def said(engine: str, number: int) -> str:
    return f"{SAID[engine] if number % 2 else 'Same'} {number}"


def test_a_sheet_hides_the_engine(folder: Path) -> None:
    """It has 100 answers in an order of its own, and nothing else; an answer given twice is on it once."""
    guide, blocks = (folder / "VERDICTS").read_text("utf-8").rstrip(), list[str]()
    for part, shown in enumerate([100] * 6 + [0], start=1):
        told = sheet("anna", part, folder)
        assert told.startswith(guide)
        *more, end = told.removeprefix(guide).strip().split("\n\n")
        assert (len(more), end) == (shown, f"{shown} of 600 answers without a verdict of anna")
        blocks += more
    expected = [
        f"{mark(one.id, said(engine, n))}\npicture {one.file}\nasked   {one.question} ({one.language})\n"
        f"true    {one.truth}\nanswer  {said(engine, n)}"
        for engine in SAID
        for n, one in enumerate(questions())
    ]
    assert sorted(blocks) == sorted(set(expected))
    assert blocks != [one for one in expected if one in set(blocks)]


def test_the_table_has_intervals_agreement_and_pairs(folder: Path) -> None:
    """Of 400 each: every second answer is the same and right; the others rise from weak to text."""
    for reader, worse in (("anna", "weak"), ("ben", "useless")):
        words = {"before": worse, "after": "text"}
        lines = [
            f"{mark(one.id, said(engine, n))} {word if n % 2 else 'right'}"
            for engine, word in words.items()
            for n, one in enumerate(questions())
        ]
        assert keep(reader, "\n".join(lines), folder) == []
    told = builtin_asked.table(folder)
    assert re.search(
        r"before, read by anna\n(.*\n){5}all +200 +0 +50\.0% \(45\.1% to 54\.9%\)", told
    )
    assert re.search(
        r"after, read by ben\n(.*\n){5}all +200 +200 +100\.0% \(99\.0% to 100\.0%\)", told
    )
    # 600 answers, 400 alike; by chance 1/3 * 1/3 twice
    assert "kappa of anna and ben: 0.57 (600 answers)" in told
    assert (
        "right or text, before to after, read by anna: +50.0 points (+45.1 to +54.9), 400 questions"
        in told
    )


def test_five_questions_are_asked(capsys: pytest.CaptureFixture[str]) -> None:
    """By the benchmark's own option, and nothing is kept."""
    kept = sorted(ASKED.iterdir())
    assert benchmark.main(["--builtin", "--only", "5"]) == 0
    told = capsys.readouterr().out
    assert [one.id in told for one in questions()[:6]] == [True] * 5 + [False]
    assert all(line.strip() for line in told.splitlines())
    assert sorted(ASKED.iterdir()) == kept

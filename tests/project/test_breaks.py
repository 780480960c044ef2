"""Each promise of SECURITY.md has a break that fits the tree, and a test that is to notice it; none is run here."""

from __future__ import annotations

import ast

import pytest

from tests.breaks.cases import ROOT, has_test
from tests.breaks.promises import named_tests, promise_of, promises
from tests.breaks.runner import Result, judge
from tests.breaks.table import BREAKS


def test_every_promise_has_a_break() -> None:
    """A row that is added to SECURITY.md gets one."""
    assert len(promises()) > 70
    assert set(promises()) - {promise_of(one.row) for one in BREAKS} == set()


def test_names_are_different() -> None:
    names = [one.name for one in BREAKS]
    assert len(set(names)) == len(names)


def test_a_break_fits_the_tree() -> None:
    """Its old text stands in its file once, and Python is still Python afterwards."""
    texts = {one.file: (ROOT / one.file).read_text(encoding="utf-8") for one in BREAKS}
    assert [one.name for one in BREAKS if texts[one.file].count(one.old) != 1] == []
    assert [one.name for one in BREAKS if one.old == one.new] == []
    for one in BREAKS:
        if one.file.endswith(".py"):
            ast.parse(texts[one.file].replace(one.old, one.new), one.name)


def test_a_breaks_test_is_one_of_its_promise() -> None:
    """It is there, and SECURITY.md names it, or its whole file, where it makes the promise."""
    assert [one.name for one in BREAKS if not has_test(one.test)] == []
    strays = [
        one.name
        for one in BREAKS
        if not {one.test, one.test.partition("::")[0]} & named_tests(promise_of(one.row))
    ]
    assert strays == []


@pytest.mark.parametrize(
    ("code", "output", "result"),
    [
        (1, "FAILED tests/test_x.py::test_y[a] - assert 0\n", Result.NOTICED),
        (1, "FAILED tests/below/test_x.py::test_y\n", Result.NOTICED),
        (0, "PASSED tests/test_x.py::test_y\n", Result.NOT_NOTICED),
        (0, "SKIPPED [1] tests/test_x.py:3: no docker\n", Result.SKIPPED),
        # Another test, a fixture, the collection, no such test
        (1, "FAILED tests/test_x.py::test_z\n", Result.FAULT),
        (1, "ERROR tests/test_x.py::test_y - no server\n", Result.FAULT),
        (2, "ERROR tests/test_x.py\n", Result.FAULT),
        (4, "", Result.FAULT),
    ],
)
def test_how_a_run_is_judged(code: int, output: str, result: Result) -> None:
    """Only a failure of the very test counts."""
    assert judge(code, output, "test_x.py::test_y", broken=True) is result

"""Workers of pytest-xdist begin with the files that take longest."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.order import LONG, TESTS, in_order, name_of

ROOT = Path(__file__).parents[2]


def test_the_longest_goes_first() -> None:
    """Those that are not known to be long count by their tests."""
    tests = [
        ("few.py", 0.1),
        *[("many.py", 0.1)] * 2,
        ("slow.py", 4.0),
        ("whole/test_soak.py", 0.1),
    ]
    assert in_order(tests) == ["whole/test_soak.py", "slow.py", "many.py", "few.py"]


def test_pages_are_spread_among_the_others() -> None:
    """No two at once while there is something else; the last is begun before the end."""
    pages = [(f"features/{name}/test_page_{name}.py", 7.0) for name in "abc"]
    others = [(f"{name}.py", 4.0) for name in "abcdef"]
    order = in_order([*pages, *others])
    assert sorted(order) == sorted(name for name, _ in [*pages, *others])
    assert ["test_page_" in name for name in order] == [*[True, False, False] * 3]


def test_long_files_are_there() -> None:
    """Under the name by which they are looked for."""
    assert [name for name in LONG if not (TESTS / name).is_file()] == []
    assert [name for name in LONG if name_of(TESTS / name) != name] == []


@pytest.mark.slow
def test_a_worker_keeps_the_order(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the files; the tests of a file stay as they are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeconftest("from tests.support import order\norder.LONG['test_b.py'] = 9.0")
    pytester.makepyfile(
        test_a="def test_one(): pass\ndef test_two(): pass\ndef test_three(): pass",
        test_b="def test_last(): pass\ndef test_first(): pass",
    )
    run = pytester.runpytest_subprocess(
        *("-p", "tests.support.order", "-p", "no:asyncio", "-v", "-n", "1", "--dist=loadfile")
    )
    run.assert_outcomes(passed=5)
    names = [line.split()[-1] for line in run.outlines if " PASSED " in line]
    assert names == [
        *("test_b.py::test_last", "test_b.py::test_first"),
        *("test_a.py::test_one", "test_a.py::test_two", "test_a.py::test_three"),
    ]

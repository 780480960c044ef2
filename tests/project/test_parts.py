"""`--fast` and `--rest` share out all tests, and `--fast` says what it leaves out."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

@pytest.fixture
def tiny_model():
    pass

def test_plain(caplog):
    import logging
    logging.getLogger("x").warning("half a pair: \\ud83d")

@pytest.mark.slow
def test_slow():
    pass

def test_with_a_model(tiny_model):
    pass

@pytest.mark.slow
@pytest.mark.browser
def test_of_the_page():
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one", "two"])
def test_each_test_belongs_to_one_part(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    """By its markers and by the models that it asks for, with one worker and with two; logs may hold any text."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makeini("[pytest]\nmarkers =\n    slow: x\n    browser: x\n")
    pytester.makepyfile(test_parts=TESTS)
    run = ("-p", "tests.support.parts", "-p", "no:asyncio", "-v", *workers)
    fast = pytester.runpytest_subprocess(*run, "--fast")
    fast.assert_outcomes(passed=1, deselected=0 if workers else 3)
    fast.stdout.fnmatch_lines(
        [
            "--fast left out: 1 that drive a browser, 2 that take more than a second, or need what is"
            " installed beside .venv."
        ]
    )
    rest = pytester.runpytest_subprocess(*run, "--rest")
    rest.assert_outcomes(passed=3, deselected=0 if workers else 1)
    assert "left out" not in rest.stdout.str()

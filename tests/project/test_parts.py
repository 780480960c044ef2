"""A run says which tests it leaves out: --fast those that take long, all but --night those for the night."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest
from tests.support.parts import at_night

@pytest.fixture
def tiny_model():
    pass

def seconds(request):
    marker = request.node.get_closest_marker("timeout")
    return marker.args[0] if marker else None

def test_plain(caplog, request):
    import logging
    logging.getLogger("x").warning("half a pair: \\ud83d")
    assert seconds(request) == 60

@pytest.mark.slow
def test_slow(request):
    assert seconds(request) is None

def test_with_a_model(tiny_model):
    pass

@pytest.mark.browser
def test_of_the_page():
    pass

@pytest.mark.parametrize("value", [1, *at_night(2, 3)])
def test_values(value):
    pass

@pytest.mark.slow
@pytest.mark.night
def test_long():
    pass
"""
LONG = "take more than a second, or need what is installed beside .venv"
AT_NIGHT = "take minutes or repeat others (--night runs them)"


@pytest.mark.slow
def test_a_run_says_what_it_leaves_out(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By markers and by the models that tests ask for, with one worker and with two; logs may hold any text.

    A fast test has less time than others.
    """
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    markers = ("slow", "browser", "night", "timeout")
    pytester.makeini("[pytest]\nmarkers =\n" + "".join(f"    {name}: x\n" for name in markers))
    pytester.makepyfile(test_parts=TESTS)

    def left_out(*options: str, passed: int, others: int) -> str:
        run = ("-p", "tests.support.parts", "-p", "no:asyncio", "-v", *options)
        done = pytester.runpytest_subprocess(*run)
        done.assert_outcomes(passed=passed, deselected=others)
        (said,) = [one for one in done.outlines if one.startswith("Left out: ")] or [""]
        return said

    fast = f"Left out: 3 that {LONG}, 1 that drive a browser, 2 that {AT_NIGHT}."
    assert left_out("--fast", "-n", "2", passed=2, others=0) == fast
    assert left_out(passed=5, others=3) == f"Left out: 3 that {AT_NIGHT}."
    assert left_out("--night", passed=8, others=0) == ""

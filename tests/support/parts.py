"""A plugin of pytest: which tests a run leaves out, and how long a test may take.

`--fast` runs what everyday work needs, `--night` also what takes minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

# Markers of tests that a run leaves out, with the reason. The first one of a test counts.
AT_NIGHT = {"night": "take minutes or repeat others (--night runs them)"}
# scripts/test.sh reads these words.
NOT_FAST = {
    "slow": "take more than a second, or need what is installed beside .venv",
    "browser": "drive a browser",
}
# Fixtures whose tests are slow: tiny models, and the environment that they run in.
SLOW_FIXTURES = frozenset({"tiny_model", "random_models"})
# Seconds that a fast test may take on a busy machine. Those of all others stand in pyproject.toml.
FAST_SECONDS = 60

_left_out = pytest.StashKey[Counter[str]]()


def at_night(*values: object) -> list[Any]:
    """Mark values of a test's parameter that only --night tries; others stand for them."""
    return [pytest.param(value, marks=pytest.mark.night) for value in values]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parts")
    group.addoption(
        "--fast", action="store_true", help="leave out tests marked " + " or ".join(NOT_FAST)
    )
    group.addoption("--night", action="store_true", help="run the tests marked night, too")


def reasons(config: pytest.Config) -> dict[str, str]:
    """Return the markers that keep a test out of this run, with the reasons."""
    return (NOT_FAST if config.getoption("--fast") else {}) | (
        {} if config.getoption("--night") else AT_NIGHT
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = reasons(config)
    chosen, others = [], Counter[str]()
    deselected = []
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        # Once for all names: there are eleven thousand tests.
        markers = {marker.name for marker in item.iter_markers()}
        if not markers & {*NOT_FAST, *AT_NIGHT, "timeout"}:
            item.add_marker(pytest.mark.timeout(FAST_SECONDS))
        why = next((name for name in left_out if name in markers), "")
        if why:
            others[why] += 1
            deselected.append(item)
        else:
            chosen.append(item)
    if deselected:
        config.stash[_left_out] = others
        config.hook.pytest_deselected(items=deselected)
        items[:] = chosen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape lone surrogates in what was logged: a worker of xdist could not send them."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of xdist hands the counts to the process that prints them: each collects all tests."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_out"] = dict(session.config.stash.get(_left_out, {}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the counts of a worker of xdist."""
    node.config.stash[_left_out] = Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how many tests were left out, and why."""
    counts = config.stash.get(_left_out, Counter())
    said = [f"{counts[name]} that {why}" for name, why in reasons(config).items() if counts[name]]
    if said:
        terminalreporter.write_line(f"Left out: {', '.join(said)}.")

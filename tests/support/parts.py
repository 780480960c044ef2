"""A plugin of pytest: `--fast` runs what everyday work needs, `--rest` all that `--fast` leaves
out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

# Markers of tests that --fast leaves out, with the reason; the first one counts.
LEFT_OUT = {
    "browser": "drive a browser",
    "slow": "take more than a second, or need what is installed beside .venv",
}
# Fixtures whose tests are slow: tiny models, and the environment that they run in.
SLOW_FIXTURES = frozenset({"tiny_model", "random_models"})

_left_out = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parts")
    group.addoption(
        "--fast", action="store_true", help="leave out tests marked " + " or ".join(LEFT_OUT)
    )
    group.addoption("--rest", action="store_true", help="run what --fast leaves out")


def why_left_out(item: pytest.Item) -> str:
    """Return the key of LEFT_OUT that keeps a test out of --fast; "" for a fast one."""
    return next((name for name in LEFT_OUT if item.get_closest_marker(name)), "")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if SLOW_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
    fast, rest = config.getoption("--fast"), config.getoption("--rest")
    if not fast and not rest:
        return
    chosen = [item for item in items if bool(why_left_out(item)) is rest]
    others = [item for item in items if bool(why_left_out(item)) is not rest]
    config.stash[_left_out] = Counter(why_left_out(item) for item in others)
    config.hook.pytest_deselected(items=others)
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
    if config.getoption("--fast"):
        counts = config.stash.get(_left_out, Counter())
        said = [f"{counts[name]} that {why}" for name, why in LEFT_OUT.items() if counts[name]]
        terminalreporter.write_line(f"--fast left out: {', '.join(said) or 'nothing'}.")

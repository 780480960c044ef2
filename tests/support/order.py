"""A plugin of pytest: workers of xdist begin with the files that take longest, and with a page in each so many.

By itself xdist begins with the files that have most tests. So it ends with those that have one or
two long ones, and the other workers wait for them. Tests that drive a browser keep three
processors busy, others wait for programs most of the time: side by side they need less time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Seconds of a usual test, of one marked slow and of one that drives a browser
USUAL, SLOW, PAGE = 0.1, 4.0, 7.0
# Seconds of files whose tests are slower than that. Rough: only the order counts.
LONG: dict[str, float] = {
    "whole/test_real_model.py": 70.0,
    "features/local_models/test_engine.py": 210.0,
    "features/cameras/test_whip_clients.py": 70.0,
    "features/watches/test_page_watches.py": 130.0,
    "features/voice_in/test_page_listening.py": 120.0,
    "deploy/test_machine.py": 50.0,
    "net/test_relayed.py": 45.0,
    "net/test_second_address.py": 45.0,
    "features/builtin/test_things.py": 85.0,
    "features/cameras/test_page_several_fit.py": 80.0,
    "features/voice_in/test_service.py": 65.0,
    "features/hosting/test_manager_real.py": 60.0,
    "features/prefill/test_likeness.py": 90.0,
    "whole/test_soak.py": 60.0,
    "scripts/test_choose_model.py": 90.0,
}


def name_of(path: Path) -> str:
    """Name a file as LONG does."""
    return path.relative_to(TESTS).as_posix() if path.is_relative_to(TESTS) else path.name


def in_order(tests: Iterable[tuple[str, float]]) -> list[str]:
    """Order the files of some tests, each with its seconds: each file once, the longest first, pages spread among the others."""
    seconds: dict[str, float] = {}
    for name, took in tests:
        seconds[name] = seconds.get(name, 0.0) + took
    seconds |= {name: LONG[name] for name in seconds.keys() & LONG.keys()}
    longest = sorted(seconds, key=lambda name: -seconds[name])
    pages = [name for name in longest if "test_page_" in name]
    others = [name for name in longest if "test_page_" not in name]

    def until(files: list[str]) -> Iterator[tuple[float, str]]:
        """Each file with the share of its kind that has begun before it."""
        whole, begun = sum(seconds[name] for name in files), 0.0
        for name in files:
            yield begun / whole, name
            begun += seconds[name]

    return [name for _, name in sorted([*until(pages), *until(others)], key=lambda one: one[0])]


def _seconds(item: pytest.Item) -> float:
    if item.get_closest_marker("browser"):
        return PAGE
    return SLOW if item.get_closest_marker("slow") else USUAL


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep the order that the workers give."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order a worker's tests; those of a file stay together, in their own order."""
    if hasattr(config, "workerinput"):
        order = in_order((name_of(item.path), _seconds(item)) for item in items)
        places = {name: place for place, name in enumerate(order)}
        items.sort(key=lambda item: places[name_of(item.path)])

"""The parts of the built-in engine that take seconds to load, once for each file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.features.builtin.reader import Reader


@pytest.fixture(scope="module")
def heavy() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "heavy") as pool:
        # Its thread is the module's, not the first test's.
        pool.submit(int).result()
        yield pool


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()

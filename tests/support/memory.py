"""A plugin of pytest: free memory goes back to the system after each file of tests.

glibc keeps what threads freed in an arena for each of them, so that a worker of pytest-xdist would
grow to gigabytes over the suite though nothing leaks.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Generator

import pytest


def _trim() -> Callable[[int], int] | None:
    """Find glibc's malloc_trim; None with another C library."""
    if sys.platform != "linux":
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


_malloc_trim = _trim()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """Give memory back once the last test of a file has ended."""
    try:
        yield
    finally:
        if _malloc_trim is not None and (nextitem is None or nextitem.path != item.path):
            # Closed connections are cycles of references, which only the collector frees.
            gc.collect()
            _malloc_trim(0)

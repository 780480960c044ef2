"""A plugin of pytest: the memory of ended servers goes back to the system.

FastAPI caches facts about each route by the route's function, which keeps its whole server alive.
A process that serves has one; a worker of pytest would keep hundreds, tens of megabytes each. After
each file of tests glibc also gives back the memory that threads have freed.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Generator

import pytest

# The module of FastAPI with these caches.
CACHES = "fastapi.dependencies.models"


def _trim() -> Callable[[int], int] | None:
    """Find glibc's malloc_trim; None with another C library."""
    if sys.platform != "linux":
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim


_malloc_trim = _trim()


def forget_servers() -> None:
    """Empty FastAPI's caches of routes, if it is loaded."""
    module = sys.modules.get(CACHES)
    for value in vars(module).values() if module is not None else ():
        if callable(clear := getattr(value, "cache_clear", None)):
            clear()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep the collector off meanwhile: nearly all that is made then lasts."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Take all that was made so far for lasting, once what is no longer needed is gone."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, None, None]:
    """Forget servers after each test, and give memory back after the last one of a file."""
    try:
        yield
    finally:
        forget_servers()
        if nextitem is None or nextitem.path != item.path:
            # Closed servers are cycles of references, which only the collector frees. What stays lasts, and each
            # collection would look through it again.
            gc.collect()
            gc.freeze()
            if _malloc_trim is not None:
                _malloc_trim(0)

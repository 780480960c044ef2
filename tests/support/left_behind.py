"""A plugin of pytest: a test that leaves a thread, an open file or socket, or a task behind fails.

All is compared once the test's event loop is closed: after each test or, where tests share a loop,
after the last of them. A test that failed anyway is left alone: its traceback keeps much alive.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from unittest.mock import patch

import pytest

# Seconds that things have to go by themselves: threads that were asked to end, tasks of closed
# connections.
PATIENCE = 5.0
# Beginnings of the names of threads that belong to the process and serve whoever comes next.
LASTING_THREADS = ("tqdm_monitor",)
# Beginnings of what /proc/self/fd leads to, the same.
LASTING_FILES = ("/dev/urandom",)

_failed = pytest.StashKey[bool]()


@dataclass(slots=True)
class Holdings:
    """The threads and the descriptors of this process."""

    threads: set[threading.Thread] = field(default_factory=lambda: set(threading.enumerate()))
    descriptors: dict[int, str] = field(default_factory=lambda: open_descriptors())

    def more_than(self, before: Holdings) -> list[str]:
        """List what was not there before."""
        threads = [
            f"thread {thread.name}"
            for thread in self.threads - before.threads
            if thread.is_alive() and not thread.name.startswith(LASTING_THREADS)
        ]
        files = [
            f"descriptor {number}, {target}"
            for number, target in self.descriptors.items()
            if before.descriptors.get(number) != target and not target.startswith(LASTING_FILES)
        ]
        return [*threads, *files]


def open_descriptors() -> dict[int, str]:
    """Read /proc: what each descriptor of this process leads to. Linux only; empty elsewhere."""
    found: dict[int, str] = {}
    with suppress(FileNotFoundError):
        for name in os.listdir("/proc/self/fd"):
            # The one that lists the folder is closed by now.
            with suppress(FileNotFoundError):
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def left_since(before: Holdings) -> list[str]:
    """List what is still there that was not there before, after a wait if there is any."""
    if not (left := Holdings().more_than(before)):
        return []
    # Close objects that only a reference cycle keeps; they warn if nobody had closed them.
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while (left := Holdings().more_than(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


class TasksAtClose:
    """Notes which tasks `asyncio.Runner.close` finds unfinished.

    It would cancel them without a word.
    """

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def installed(self) -> Iterator[None]:
        close = asyncio.Runner.close

        def closing(runner: asyncio.Runner) -> None:
            self._note(runner)
            close(runner)

        with patch.object(asyncio.Runner, "close", closing):
            yield

    def take(self) -> list[str]:
        """Return what was found since the last call."""
        found, self.found = self.found, []
        return found

    def _note(self, runner: asyncio.Runner) -> None:
        try:
            loop = runner.get_loop()
        except RuntimeError:
            return  # It was closed before.
        if pending := asyncio.all_tasks(loop):
            _, pending = loop.run_until_complete(asyncio.wait(pending, timeout=PATIENCE))
        self.found += [f"task {task.get_name()}, {task.get_coro()}" for task in pending]


def loop_scope(node: pytest.Item | pytest.Collector) -> str:
    """Return how long the event loop of a test, or of all tests of a module, stays: function,
    module or session.
    """
    marker = node.get_closest_marker("asyncio")
    return str(marker.kwargs.get("loop_scope") or "function") if marker else "function"


def complain(left: list[str]) -> None:
    if left:
        pytest.fail("Left behind:\n" + "\n".join(sorted(left)), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note which tests failed, and in which modules."""
    report = yield
    if report.failed:
        for node in item.listchain():
            node.stash[_failed] = True
    return report


@pytest.fixture(scope="session", autouse=True)
def _tasks_at_close(request: pytest.FixtureRequest) -> Iterator[TasksAtClose]:
    before, tasks = Holdings(), TasksAtClose()
    with tasks.installed():
        yield tasks
    if not request.node.stash.get(_failed, False):
        complain([*tasks.take(), *left_since(before)])


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_by_the_module(
    request: pytest.FixtureRequest, _tasks_at_close: TasksAtClose
) -> Iterator[None]:
    before = Holdings()
    yield
    left = _tasks_at_close.take()
    # Objects created once for all tests may have been created by any of them.
    if loop_scope(request.node) == "module":
        left += left_since(before)
    if not request.node.stash.get(_failed, False):
        complain(left)


@pytest.fixture(autouse=True)
def _nothing_left_by_the_test(
    request: pytest.FixtureRequest, _tasks_at_close: TasksAtClose
) -> Iterator[None]:
    before = Holdings()
    yield
    left = _tasks_at_close.take()
    if loop_scope(request.node) == "function":
        left += left_since(before)
    if not request.node.stash.get(_failed, False):
        complain(left)

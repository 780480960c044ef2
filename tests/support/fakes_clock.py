"""Time that passes only while all wait: a test of seconds takes milliseconds, always the same."""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")


class _Selector(selectors.DefaultSelector):
    """Does not wait: where the loop would, its clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and no timer is set")
        ready = super().select(0)
        if not ready and timeout > 0:
            self.now += timeout
        return ready


class ClockLoop(asyncio.SelectorEventLoop):
    """An event loop for timers alone: no threads, no sockets."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run_clock(main: Coroutine[Any, Any, T]) -> T:
    """Run until the end of `main`, which finds the time in its loop's `time()`."""
    with asyncio.Runner(loop_factory=ClockLoop) as runner:
        return runner.run(main)


def on_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make a test of one that runs by `run_clock`."""

    @functools.wraps(test)
    def runs(*args: P.args, **kwargs: P.kwargs) -> None:
        run_clock(test(*args, **kwargs))

    return runs

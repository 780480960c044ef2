"""The error that stops a model script, with a sentence for the user."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


class ModelError(Exception):
    """`message` says what happened, what was given and what to do, without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Stopped(BaseException):
    """SIGINT or SIGTERM came.

    No Exception, so that nothing on the way takes it for a failure of its own.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        # The usual exit status of a program that a signal ended.
        self.status = 128 + number


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[None]:
    """SIGINT and SIGTERM raise Stopped in the main thread, once; at the end more are ignored."""

    def stop(number: int, _frame: FrameType | None) -> None:
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    before = {one: signal.signal(one, stop) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def ended(run: Callable[[], int], when_stopped: Callable[[], str]) -> int:
    """The exit status of `run`: 1 and a sentence on ModelError, 130 or 143 on a signal."""
    try:
        with stopping_on_signals():
            return run()
    except ModelError as error:
        say(error.message)
        return 1
    except Stopped as stopped:
        say(when_stopped())
        return stopped.status

"""The manager's status, log lines, and their listeners."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from server.hosting.status import ManagerState, ManagerStatus
from server.processes.log_progress import LoadProgress

log = logging.getLogger(__name__)
T = TypeVar("T")

# Least time between two progress reports of one phase; the newest report within it is sent at its
# end.
_SHOW_SECONDS = 0.25


class Board:
    """Written only by the manager. Listeners are called at once, on the event loop."""

    def __init__(self) -> None:
        self.status = ManagerStatus()
        self._listeners: list[Callable[[ManagerStatus], None]] = []
        self._hearers: list[Callable[[str], None]] = []
        self._shown_at = 0.0
        # Progress that came too soon after the last report, to be sent when the timer fires.
        self._held: LoadProgress | None = None
        self._timer: asyncio.TimerHandle | None = None

    def on_change(self, callback: Callable[[ManagerStatus], None]) -> Callable[[], None]:
        """Call `callback` with each new status. Returns a function that unsubscribes."""
        return _subscribe(self._listeners, callback)

    def on_line(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call `callback` with each line. Returns a function that unsubscribes."""
        return _subscribe(self._hearers, callback)

    def show(self, status: ManagerStatus) -> None:
        if status == self.status:
            return
        self.status = status
        if status.state is not ManagerState.LOADING:
            # The next loading has its own progress.
            self._held = None
        for listener in list(self._listeners):
            _call(listener, status)

    def progress(self, progress: LoadProgress) -> None:
        """Report the progress; ignored unless a model loads, and limited in rate."""
        if self.status.state is not ManagerState.LOADING:
            return
        before, loop = self.status.progress, asyncio.get_running_loop()
        same = before is not None and before.phase == progress.phase
        wait = self._shown_at + _SHOW_SECONDS - loop.time()
        if same and progress.percent != 100 and wait > 0:
            self._held = progress
            self._timer = self._timer or loop.call_later(wait, self._show_held)
            return
        self._show_progress(progress)

    def _show_progress(self, progress: LoadProgress) -> None:
        self._held = None
        self._shown_at = asyncio.get_running_loop().time()
        self.show(replace(self.status, progress=progress))

    def _show_held(self) -> None:
        self._timer = None
        if self._held is not None and self.status.state is ManagerState.LOADING:
            self._show_progress(self._held)
        self._held = None

    def line(self, line: str) -> None:
        """Send a line of an engine's or the manager's log."""
        for hear in list(self._hearers):
            _call(hear, line)


def _call(listener: Callable[[T], None], value: T) -> None:
    try:
        listener(value)
    except Exception as exc:  # noqa: BLE001
        # An error of a listener must affect neither the others nor the model.
        log.error("a listener of the manager failed", extra={"error": type(exc).__name__})


def _subscribe(listeners: list[T], callback: T) -> Callable[[], None]:
    listeners.append(callback)

    def stop() -> None:
        if callback in listeners:
            listeners.remove(callback)

    return stop

"""Messages for operators' sockets: the engine's state and its log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.features.hosting.messages import (
    Answering,
    EngineReport,
    LoadingProgress,
    LogLines,
    ReleasedMemory,
)
from server.features.hosting.status import ManagerStatus, Released
from server.session.request.outbox import Outbox

# Lines kept for later operators, and waiting for one operator; the oldest are dropped.
MAX_LINES = 200
# Characters of a line; a longer one is cut.
MAX_LINE_CHARS = 300
# Least time between two `log` messages to one operator.
LOG_SECONDS = 0.2


@dataclass(slots=True)
class _Listener:
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LINES))
    # Lines dropped since the last message because the buffer was full
    dropped: int = 0


class OperatorChannel:
    """Sends reports and log lines to operators, on the event loop. `report` builds the current report.

    Bounds of an engine's lines for operators: 200 of 300 characters, kept and per operator; the
    oldest are dropped and counted.
    """

    def __init__(self, report: Callable[[], EngineReport], on_dropped: Callable[[], None]) -> None:
        """`on_dropped` is called for each line that an operator does not get."""
        self._report = report
        self._on_dropped = on_dropped
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        self._listeners: dict[Outbox, _Listener] = {}
        # Runs while lines wait.
        self._timer: asyncio.TimerHandle | None = None

    def join(self, outbox: Outbox) -> None:
        """Send reports to an operator from now on, first the state and the last lines."""
        listener = self._listeners[outbox] = _Listener()
        outbox.put(self._report())
        outbox.discard(LogLines)
        listener.waiting.extend(self._lines)
        self._flush(outbox, listener)

    def leave(self, outbox: Outbox) -> None:
        """Remove an operator, and drop its waiting messages. Does nothing for one that never joined."""
        if self._listeners.pop(outbox, None) is not None:
            outbox.discard(EngineReport)
            outbox.discard(LogLines)

    def changed(self) -> None:
        """Send the changed state."""
        if self._listeners:
            report = self._report()
            for outbox in self._listeners:
                outbox.put(report)

    def line(self, text: str) -> None:
        """Send a line of the engine's log, from which secrets have been removed."""
        line = "".join(c if c.isprintable() else " " for c in text.rstrip()[:MAX_LINE_CHARS])
        self._lines.append(line)
        for listener in self._listeners.values():
            if len(listener.waiting) == MAX_LINES:
                listener.dropped += 1
                self._on_dropped()
            listener.waiting.append(line)
        if self._listeners and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self._tick)

    def close(self) -> None:
        self._listeners.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        for outbox, listener in self._listeners.items():
            self._flush(outbox, listener)
        if any(listener.waiting for listener in self._listeners.values()):
            # An operator has not received the last lines yet.
            self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self._tick)

    def _flush(self, outbox: Outbox, listener: _Listener) -> None:
        if listener.waiting and not outbox.waits(LogLines):
            outbox.put(LogLines(lines=list(listener.waiting), dropped=listener.dropped))
            listener.waiting.clear()
            listener.dropped = 0


def report(
    status: ManagerStatus, answers: bool, answering: Answering | None = None, why: str = ""
) -> EngineReport:
    """Build the engine's report.

    `answers`: it answers visitors; `answering`: the engine that does; `why`: no better one.
    """
    progress = status.progress
    return EngineReport(
        state=str(status.state),
        model=status.model or None,
        model_type=str(status.model_type) if status.model_type else None,
        mode=str(status.mode) if status.mode else None,
        progress=(
            LoadingProgress(
                phase=progress.phase,
                percent=round(progress.percent, 1) if progress.percent is not None else None,
                done_bytes=progress.done_bytes,
                total_bytes=progress.total_bytes,
            )
            if progress is not None
            else None
        ),
        memory_bytes=status.memory_bytes,
        gpu_bytes=status.gpu_bytes,
        released=_released(status.released),
        command=status.shown or None,
        error=status.error or None,
        answers=answers,
        answering=answering,
        why=why or None,
    )


def _released(back: Released | None) -> ReleasedMemory | None:
    if back is None:
        return None
    memory = None if back.held is None else max(0, back.held - (back.left or 0))
    gpu = None
    if back.gpu_before is not None and back.gpu_after is not None:
        gpu = max(0, back.gpu_after - back.gpu_before)
    if memory is None and gpu is None:
        return None
    return ReleasedMemory(memory_bytes=memory, left_bytes=back.left, gpu_bytes=gpu)

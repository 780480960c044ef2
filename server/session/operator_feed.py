"""Messages for operators' sockets: the engine's state and its log."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.core.messages import EngineReport, LogLines
from server.core.metrics import Metrics
from server.session.request.outbox import Outbox

# Lines kept for later operators, and waiting for one operator; the oldest are dropped.
MAX_LINES = 200
# Characters of a line; a longer one is cut.
MAX_LINE_CHARS = 300
# Least time between two `log` messages to one operator.
LOG_SECONDS = 0.2


@dataclass(slots=True, eq=False)
class _Listener:
    outbox: Outbox
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LINES))
    # Lines dropped since the last message because the buffer was full
    dropped: int = 0


class OperatorDesk:
    """Sends reports and log lines to operators, on the event loop. `report` builds the current report.

    Bounds of an engine's lines for operators: 200 of 300 characters, kept and per operator; the
    oldest are dropped and counted.
    """

    def __init__(self, report: Callable[[], EngineReport], metrics: Metrics) -> None:
        self._report = report
        self._metrics = metrics
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        # By socket, so that a session's next socket gets none of it.
        self._listeners: dict[object, _Listener] = {}
        # Runs while lines wait.
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, socket: object, outbox: Outbox) -> None:
        """Send reports to a socket from now on, first the state and the last lines. Joining again sends them again."""
        listener = self._listeners[socket] = _Listener(outbox)
        outbox.operator = True
        outbox.put(self._report())
        outbox.discard(LogLines)
        listener.waiting.extend(self._lines)
        self._flush(listener)

    def leave(self, socket: object) -> None:
        """Remove a socket, and drop its waiting messages. Does nothing for one that never joined."""
        listener = self._listeners.pop(socket, None)
        if listener is None or any(o.outbox is listener.outbox for o in self._listeners.values()):
            return
        listener.outbox.operator = False
        listener.outbox.discard(EngineReport)
        listener.outbox.discard(LogLines)

    def dismiss(self, outbox: Outbox) -> None:
        """Remove all sockets of an outbox, because another socket without the token reads it from now on."""
        for socket in [s for s, one in self._listeners.items() if one.outbox is outbox]:
            self.leave(socket)

    def changed(self) -> None:
        """Send the changed state."""
        if self._listeners:
            report = self._report()
            for listener in self._listeners.values():
                listener.outbox.put(report)

    def line(self, text: str) -> None:
        """Send a line of the engine's log, from which secrets have been removed."""
        line = "".join(c if c.isprintable() else " " for c in text.rstrip()[:MAX_LINE_CHARS])
        self._lines.append(line)
        for listener in self._listeners.values():
            if len(listener.waiting) == MAX_LINES:
                listener.dropped += 1
                self._metrics.log_lines_dropped.inc()
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
        for listener in self._listeners.values():
            self._flush(listener)
        if any(listener.waiting for listener in self._listeners.values()):
            # An operator has not received the last lines yet.
            self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self._tick)

    def _flush(self, listener: _Listener) -> None:
        if listener.waiting and not listener.outbox.waits(LogLines):
            listener.outbox.put(LogLines(lines=list(listener.waiting), dropped=listener.dropped))
            listener.waiting.clear()
            listener.dropped = 0

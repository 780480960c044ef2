"""What operators hear on their sockets: the engine's state as it changes, and its own words."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from server.core.messages import EngineReport, LogLines
from server.core.metrics import Metrics
from server.session.outbox import Outbox

# Lines that are kept for whoever comes later, and that may wait for one operator; the oldest go.
MAX_LINES = 200
# Of a line; what is longer is cut.
MAX_LINE_CHARS = 300
# Between two `log` messages to one operator, however many lines there are.
LOG_SECONDS = 0.2


@dataclass(slots=True, eq=False)
class _Listener:
    outbox: Outbox
    waiting: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_LINES))
    # Lines that went for want of room since the last message
    dropped: int = 0


class OperatorDesk:
    """Everything on the event loop. `report` makes the newest state."""

    def __init__(self, report: Callable[[], EngineReport], metrics: Metrics) -> None:
        self._report = report
        self._metrics = metrics
        self._lines: deque[str] = deque(maxlen=MAX_LINES)
        # By socket: what one was told does not go to the next one of its session.
        self._listeners: dict[object, _Listener] = {}
        # Runs while lines wait.
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._listeners)

    def join(self, socket: object, outbox: Outbox) -> None:
        """From now on; first the state and the last lines. Joining again tells them again."""
        listener = self._listeners[socket] = _Listener(outbox)
        outbox.operator = True
        outbox.put(self._report())
        outbox.discard(LogLines)
        listener.waiting.extend(self._lines)
        self._flush(listener)

    def leave(self, socket: object) -> None:
        """What this socket was about to be told nobody else hears. Does nothing for one that never joined."""
        listener = self._listeners.pop(socket, None)
        if listener is None or any(o.outbox is listener.outbox for o in self._listeners.values()):
            return
        listener.outbox.operator = False
        listener.outbox.discard(EngineReport)
        listener.outbox.discard(LogLines)

    def dismiss(self, outbox: Outbox) -> None:
        """All that listen by this outbox: another socket reads it from now on, which has not brought the token."""
        for socket in [s for s, one in self._listeners.items() if one.outbox is outbox]:
            self.leave(socket)

    def changed(self) -> None:
        """The state is another one."""
        if self._listeners:
            report = self._report()
            for listener in self._listeners.values():
                listener.outbox.put(report)

    def line(self, text: str) -> None:
        """The engine said something; secrets have been removed."""
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
            # Somebody has not taken the last ones yet.
            self._timer = asyncio.get_running_loop().call_later(LOG_SECONDS, self._tick)

    def _flush(self, listener: _Listener) -> None:
        if listener.waiting and not listener.outbox.waits(LogLines):
            listener.outbox.put(LogLines(lines=list(listener.waiting), dropped=listener.dropped))
            listener.waiting.clear()
            listener.dropped = 0

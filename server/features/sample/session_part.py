"""One session's waves."""

from __future__ import annotations

from collections.abc import Callable

from server.core.errors import Conflict
from server.features.sample.messages import Wave, Waves
from server.session.part import SessionContext, SessionPart


class Waving(SessionPart):
    def __init__(self, context: SessionContext, most: int, on_wave: Callable[[], None]) -> None:
        self._outbox = context.outbox
        self._most = most
        self._on_wave = on_wave
        self._count = 0
        self.handlers = {Wave: self.wave}

    def wave(self, message: Wave) -> None:
        """Count a wave. Raises Conflict after too many."""
        if self._count >= self._most:
            raise Conflict(f"You have waved {self._most} times, which is the most of a session.")
        self._count += 1
        self._on_wave()
        self.greet()

    def greet(self) -> None:
        """Tell a new socket, and again when the engine changes."""
        self._outbox.put(Waves(count=self._count))

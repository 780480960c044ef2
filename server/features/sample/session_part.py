"""One session's waves."""

from __future__ import annotations

from collections.abc import Callable

from server.core.errors import Conflict
from server.features.sample.messages import Wave, Waves
from server.session.part import SessionContext, SessionPart


class Waving(SessionPart):
    """Counts the waves of one session, up to a limit."""

    def __init__(self, context: SessionContext, most: int, on_wave: Callable[[], None]) -> None:
        self._outbox = context.outbox
        self._most = most
        self._on_wave = on_wave
        self._count = 0
        self.handlers = {Wave: self.wave}

    def wave(self, message: Wave) -> None:
        """Count a wave and send the new number. Raise Conflict beyond the limit of a session."""
        if self._count >= self._most:
            raise Conflict(
                f"You have waved {self._most} times, the limit of a session. Reload the page to start a new one."
            )
        self._count += 1
        self._on_wave()
        self.greet()

    def greet(self) -> None:
        """Send the number of waves: to a new socket, and again when the engine changes."""
        self._outbox.put(Waves(count=self._count))

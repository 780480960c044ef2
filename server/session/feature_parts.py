"""The features' parts of one session: who gets its messages, its greetings and its alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from server.core.alert import Alert, AlertSource
from server.core.errors import Conflict
from server.core.messages.base import ClientMessage
from server.session.request.part import MakePart, SessionContext, SessionPart
from server.session.watches.rings import Event


class FeatureParts:
    """All parts that features have made for one session."""

    def __init__(self, context: SessionContext, makers: Sequence[MakePart]) -> None:
        self._source = AlertSource(context.id)
        self._parts: list[SessionPart] = [make(context) for make in makers]
        # Of a fixed camera, whose operator decides; else None
        self._on_alert: Callable[[Alert], None] | None = None

    def stand(self, on_alert: Callable[[Alert], None], camera: str) -> None:
        """Belong to a fixed camera: no person chooses here. `on_alert` gets its alerts."""
        self._parts.clear()
        self._on_alert = on_alert
        self._source = AlertSource(self._source.id, camera)

    def handle(self, message: ClientMessage) -> None:
        """Have the feature act that knows the message. Raises what it raises, Conflict for none."""
        for part in self._parts:
            if (handle := part.handlers.get(type(message))) is not None:
                handle(message)
                return
        raise Conflict("This session does not take such a message: it has a fixed camera.")

    def greet(self) -> None:
        for part in self._parts:
            part.greet()

    def alerted(self, event: Event) -> None:
        alert = event.alert(self._source)
        if self._on_alert is not None:
            self._on_alert(alert)
        for part in self._parts:
            part.alerted(alert)

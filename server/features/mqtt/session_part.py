"""One session as a device of Home Assistant, by its person's word: none, until the person says so."""

from __future__ import annotations

from server.core.alert import Alert
from server.features.mqtt.messages import HomeAssistant, SetHomeAssistant
from server.features.mqtt.visitors import Visitors
from server.session.part import SessionContext, SessionPart


class HomeAssistantDevice(SessionPart):
    """One session's consent. It begins empty, holds for the session, and ends at once."""

    def __init__(self, context: SessionContext, visitors: Visitors) -> None:
        self._context = context
        self._visitors = visitors
        self.handlers = {SetHomeAssistant: self.choose}

    def choose(self, message: SetHomeAssistant) -> None:
        """Become a device, or end it. Raises Conflict when there are too many, RateLimited."""
        try:
            if message.on:
                self._visitors.begin(self._context.id)
            else:
                self._visitors.end(self._context.id)
        finally:
            self.greet()

    def greet(self) -> None:
        """Tell the client where Home Assistant is, and whether this camera is a device of it."""
        visitors = self._visitors
        self._context.outbox.put(
            HomeAssistant(host=visitors.host, on=visitors.has(self._context.id))
        )

    def alerted(self, alert: Alert) -> None:
        self._visitors.alerted(alert)

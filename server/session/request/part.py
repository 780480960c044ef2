"""A feature's part of one session, and what it may use of the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.core.aio import TaskSet
from server.core.alert import Alert
from server.core.messages.base import ClientMessage
from server.session.request.outbox import Outbox


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What parts of one session share."""

    id: str
    outbox: Outbox
    # They end with the session.
    tasks: TaskSet


class SessionPart:
    """A feature's part of one session. What a feature does not override does nothing.

    All methods are called on the event loop.
    """

    # What acts on each of its messages; raises QwenCameraError, which goes back to the client
    handlers: Mapping[type[ClientMessage], Callable[[Any], None]] = {}

    def greet(self) -> None:
        """Send the first messages: to a new socket, and again when the engine changes."""

    def alerted(self, alert: Alert) -> None:
        """Take an alert of the session's watches."""


# Makes a feature's part of a new session
MakePart = Callable[[SessionContext], SessionPart]

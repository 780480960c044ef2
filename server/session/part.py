"""A feature's part of one session, and what it may use of the session."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from server.camera.camera import Camera
from server.core.aio import TaskSet
from server.core.alert import Alert
from server.core.frames import Frame
from server.core.messages.base import ClientMessage
from server.session.background.recalling import Recalling
from server.session.request.builder import RequestBuilder
from server.session.request.outbox import Outbox
from server.session.request.session_tools import SessionTools
from server.session.watches.watching import Watching


@dataclass(frozen=True, slots=True)
class SessionContext:
    """The things that parts of one session share."""

    id: str
    outbox: Outbox
    # They end with the session.
    tasks: TaskSet
    camera: Camera
    requests: RequestBuilder
    watching: Watching
    recalling: Recalling
    # What all sessions share
    tools: SessionTools
    # Marks activity, which keeps the session alive
    touch: Callable[[], None]
    # Returns the frame that the person holds
    held: Callable[[], Frame | None]


class SessionPart:
    """A feature's part of one session. What a feature does not override does nothing.

    All methods are called on the event loop.
    """

    # What acts on each of its messages; raises QwenCameraError, which goes back to the client
    handlers: Mapping[type[ClientMessage], Callable[[Any], None]] = {}

    def fixed(self) -> bool:
        """Belong to a fixed camera, whose operator decides, not a person. Returns False to be left out there."""
        return False

    def ready(self) -> dict[str, Any]:
        """Return what the page needs to know of it from the start."""
        return {}

    def greet(self) -> None:
        """Send the first messages: to a new socket, and again when the engine changes."""

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket of the session is open."""

    def alerted(self, alert: Alert) -> None:
        """Take an alert of the session's watches."""

    async def close(self) -> None:
        """End what runs. Called once or twice."""


# Makes a feature's part of a new session
MakePart = Callable[[SessionContext], SessionPart]

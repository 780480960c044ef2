"""The features' parts of one session: who gets its messages, its greetings and its alerts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from typing import Any

from server.core import messages as wire
from server.core.alert import Alert, AlertSource
from server.core.errors import Conflict
from server.core.frames import Frame, Route
from server.core.messages.base import ClientMessage
from server.media.camera import Camera
from server.models.order_words import Order
from server.session.part import (
    BackgroundPart,
    MakePart,
    QuestionRoute,
    SessionContext,
    SessionPart,
    Shooter,
)
from server.session.request.builder import RequestBuilder
from server.session.request.tools import Tool


@dataclass(frozen=True, slots=True)
class SessionFeatures:
    """The features that are on, by their names, as sessions know them."""

    on: list[str] = field(default_factory=list)
    makers: dict[str, MakePart] = field(default_factory=dict)


class FeatureParts:
    """All parts that features have made for one session. Without parts until `make`."""

    def __init__(self, id: str, features: SessionFeatures) -> None:
        self.source = AlertSource(id)
        self._features = features
        self._parts: dict[str, SessionPart] = {}
        # Those that get frames
        self.background: list[BackgroundPart] = []
        self.routes: dict[Route, QuestionRoute] = {}
        # Of a fixed camera, whose operator decides; else None
        self._on_alert: Callable[[Alert], None] | None = None

    def make(self, context: SessionContext) -> None:
        """Make the parts, in the order in which the features have registered."""
        for name, make in self._features.makers.items():
            self._parts[name] = part = make(context)
            self.routes.update(part.routes)
            if isinstance(part, BackgroundPart):
                self.background.append(part)

    def stand(self, on_alert: Callable[[Alert], None], camera: str) -> None:
        """Belong to a fixed camera: no person chooses here. `on_alert` gets its alerts."""
        self._parts = {name: part for name, part in self._parts.items() if part.fixed()}
        self.background[:] = [part for part in self.background if part in self._parts.values()]
        self._on_alert = on_alert
        self.source = AlertSource(self.source.id, camera)

    def find(self, feature: str) -> Any:
        """Return a feature's part; None where it has none."""
        return self._parts.get(feature)

    @property
    def cameras(self) -> list[Camera]:
        return [camera for part in self._parts.values() for camera in part.cameras]

    @property
    def slots(self) -> list[str]:
        return [slot for part in self._parts.values() for slot in part.slots]

    def tools(self) -> list[Tool]:
        """Return what models may call; nothing for a fixed camera, at which no person asks."""
        parts = self._parts.values() if self._on_alert is None else ()
        return [tool for part in parts for tool in part.tools]

    def takes(self, order: Order, condition: str) -> bool:
        """Find whether an order is one of a part's."""
        return any(part.takes(order, condition) for part in self._parts.values())

    def shooter(self) -> Shooter | None:
        """Return what gets the frames of the next question; None for the session's own camera's."""
        found = (part.shooter for part in self._parts.values())
        return next((one for one in found if one is not None), None)

    def ready(self) -> dict[str, dict[str, Any]]:
        """Return the names of the features that are on, each with what the page needs to know of it."""
        return {
            name: part.ready() if (part := self._parts.get(name)) is not None else {}
            for name in self._features.on
        }

    def handle(self, message: ClientMessage) -> None:
        """Have the feature act that knows the message. Raises what it raises, Conflict for none."""
        for part in self._parts.values():
            if (handle := part.handlers.get(type(message))) is not None:
                handle(message)
                return
        raise Conflict("This session does not take such a message: it has a fixed camera.")

    def configure(self, message: wire.Settings) -> None:
        """Give a settings message to each part that has settings."""
        for part in self._parts.values():
            for kind, handle in part.handlers.items():
                if issubclass(kind, wire.Settings) and isinstance(message, kind):
                    handle(message)

    def greet(self) -> None:
        for part in self._parts.values():
            part.greet()

    def reported(self) -> None:
        for part in self._parts.values():
            part.reported()

    def set_connected(self, connected: bool) -> None:
        for part in self._parts.values():
            part.set_connected(connected)

    def sounded(self, at: float) -> None:
        for part in self._parts.values():
            part.sounded(at)

    def alerted(self, alert: Alert) -> None:
        if self._on_alert is not None:
            self._on_alert(alert)
        for part in self._parts.values():
            part.alerted(alert)

    def clear(self) -> None:
        for part in self._parts.values():
            part.clear()

    def cancel(self, id: str | None) -> None:
        for part in self._parts.values():
            part.cancel(id)

    def stop(self) -> None:
        """Stop all parts; a failure skips nothing."""
        with ExitStack() as stack:
            for part in self._parts.values():
                stack.callback(part.stop)

    async def close(self) -> None:
        """End all parts; a failure skips nothing."""
        async with AsyncExitStack() as stack:
            for part in self._parts.values():
                stack.push_async_callback(part.close)


# A session's background work: gives the parts that want them the camera's frames while a client
# listens.


class Background:
    """Passes the camera's sampled frames to the parts that want them, and sets its rate for them."""

    def __init__(
        self,
        camera: Camera,
        requests: RequestBuilder,
        sample_rate: float,
        parts: Sequence[BackgroundPart],
    ) -> None:
        """`sample_rate`: frames per second, when the client has chosen none."""
        self._camera = camera
        self._requests = requests
        self._sample_rate = sample_rate
        self._parts = parts
        self._connected = True
        # Those that get frames now, and those of them that get the frames between
        self._active: list[BackgroundPart] = []
        self._alert: list[BackgroundPart] = []
        camera.on_stream = self._new_stream

    def changed(self) -> None:
        """Apply the wishes of all parts. To be called when one of them or a setting has changed."""
        self._active = [
            part for part in self._parts if part.wanted and (self._connected or part.unattended)
        ]
        self._alert = [part for part in self._active if part.alert]
        chosen = self._requests.preferences.sample_rate
        self._camera.set_sample_rate(
            chosen or self._sample_rate,
            working=any(part.working for part in self._active),
            # A chosen rate is not exceeded.
            alert=chosen is None and bool(self._alert),
        )
        self._camera.on_sample = self._frame if self._active else None
        self._camera.on_between = self._between if self._alert else None

    @property
    def unattended(self) -> bool:
        """True while a part works on without a socket."""
        return any(part.wanted and part.unattended for part in self._parts)

    def set_connected(self, connected: bool) -> None:
        """Note whether a socket is open: without one only unattended parts get frames."""
        self._connected = connected
        self.changed()

    def retry(self) -> None:
        for part in self._parts:
            part.retry()

    def close(self) -> None:
        self._connected = False
        self._camera.on_sample = self._camera.on_between = None

    def _frame(self, frame: Frame) -> None:
        for part in list(self._active):
            if part in self._active:
                part.frame(frame)

    def _between(self, frame: Frame) -> None:
        for part in list(self._alert):
            part.between(frame)

    def _new_stream(self) -> None:
        for part in self._parts:
            part.new_stream()

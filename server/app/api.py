"""What a feature gets when it registers: the parts of the server that it may use, and where to add its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.routing import BaseRoute

from server.core.alert import Alert
from server.core.messages.base import ClientMessage

if TYPE_CHECKING:
    from config import Settings
    from server.app.program import Program
    from server.session.request.part import MakePart


class Api:
    """One for all features, which register in the order of `server.app.features.FEATURES`.

    What is added stays until the program ends.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.settings: Settings = program.settings
        self.metrics = program.metrics
        # Threads, by what they are for
        self.pools = program.pools
        self.sessions = program.sessions
        # Makes pictures of frames for an engine or a page
        self.preparer = program.preparer
        # The models that may answer, and the one that an operator chose
        self.engines = program.engine_parts
        # What routes share
        self.services = program.services()
        self._faces: dict[str, object] = {}
        self._alert_takers: list[Callable[[Alert], None]] = []

    def new_session_id(self) -> str:
        """Make an id that leads a balancer to this process."""
        return self._program.new_session_id()

    # HTTP

    def routes(self, *routes: BaseRoute) -> None:
        """Add routes of the application."""
        self._program.routes.extend(routes)

    def router(self) -> APIRouter:
        """Add routes: those of the returned router."""
        return self._router(APIRouter())

    def operator_router(self, prefix: str) -> APIRouter:
        """Add routes for operators alone, below `prefix`, such as "/api/operator/mqtt"."""
        from server.operator.routes import for_operators

        guards = for_operators(self.services, self._program.access.guard)
        return self._router(APIRouter(prefix=prefix, dependencies=guards))

    def _router(self, router: APIRouter) -> APIRouter:
        self._program.routers.append(router)
        return router

    # Work

    def run(
        self,
        name: str,
        *,
        start: Callable[[], None] | None = None,
        close: Callable[[], Awaitable[object]],
    ) -> None:
        """Start something with the program, and close it before the sessions. `close` may come without `start`."""
        if start is not None:
            self._program.starts.append(start)
        self._program.closes.append((name, close))

    def on_session_ended(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the id of each session that has ended."""
        self._program.session_ended.append(tell)

    def on_engine_changed(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when another engine answers, or the one that does has changed."""
        self._program.engine_changed.append(tell)

    # Sessions

    def session_part(self, make: MakePart, *messages: type[ClientMessage]) -> None:
        """Have each new session get a part, which acts on these messages of its client."""
        self._program.messages.add(*messages)
        self._program.session_parts.append(make)

    def on_alert(self, take: Callable[[Alert], None]) -> None:
        """Have `take` called with each alert of a fixed camera."""
        self._alert_takers.append(take)

    def alert(self, alert: Alert) -> None:
        """Tell the features of an alert of a fixed camera."""
        for take in self._alert_takers:
            take(alert)

    # Other features

    def offer(self, feature: str, face: object) -> None:
        """Let features that start later use this object, the face of the feature of this name."""
        self._faces[feature] = face

    def find(self, feature: str) -> Any:
        """Return the face of another feature; None where that feature is off."""
        return self._faces.get(feature)

"""The interface between a feature and the server: services to use, and registration of its own parts."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from inspect import get_annotations
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args

from fastapi import APIRouter
from starlette.routing import BaseRoute

from server.core.aio import Deadline, Pools
from server.core.errors import Collision, check_unique
from server.core.messages import CORE_MESSAGES, ClientMessage, Parser
from server.core.metrics import Metrics
from server.media.picture.prepare import PicturePreparer
from server.models.selector import EngineSelector
from server.session.part import Alert, Operators, SessionFeatures
from server.session_manager import SessionManager
from server.web.middleware import ErrorForm
from server.web.request_guard import Access, Services, get_operator_dependencies

if TYPE_CHECKING:
    from config import Settings
    from server.session.part import MakePart

log = logging.getLogger(__name__)
T = TypeVar("T")


class Additions:
    """Everything that features have registered; see `Api`."""

    def __init__(self) -> None:
        self.messages = Parser()
        self.message_types: list[type[ClientMessage]] = []
        self.session_features = SessionFeatures()
        self.routers: list[APIRouter] = []
        self.routes: list[BaseRoute] = []
        self.error_forms: list[ErrorForm] = []
        # Paths that accept a multipart form
        self.form_paths: set[str] = set()
        self.starts: list[Callable[[], None]] = []
        self.closes: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        self.last_closes: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        # Run in parallel with the last answers while the server drains
        self.drains: list[Callable[[Deadline], Coroutine[Any, Any, object]]] = []
        # Called with the port when the server listens, after the greeting on the terminal
        self.listening: list[Callable[[int], None]] = []
        self.health_facts: list[Callable[[], Mapping[str, Any]]] = []
        self.serving: list[Callable[[], AbstractAsyncContextManager[None]]] = []
        self.session_ended: list[Callable[[str], None]] = []
        self.engine_changed: list[Callable[[], None]] = []
        # Services that features provide for each other and for the core, by type
        self.provided: dict[type[Any], Any] = {}
        self.alert_callbacks: list[Callable[[Alert], None]] = []


@dataclass(frozen=True)
class Api:
    """The interface for one feature. Features register in the order of `server.app.features.FEATURES`.

    Registrations last until the program ends.
    """

    name: str
    added: Additions
    settings: Settings
    # Services that routes share
    services: Services
    # Thread pools by purpose
    pools: Pools
    # Preparation of pictures for engines and pages
    preparer: PicturePreparer
    # All engines; `engines.add` adds an engine
    engines: EngineSelector
    # Operators' sockets; append to `parts` to send messages to them
    operator_sockets: Operators

    @property
    def metrics(self) -> Metrics:
        return self.services.metrics

    @property
    def sessions(self) -> SessionManager:
        return self.services.sessions

    @property
    def access(self) -> Access:
        """Keys, tokens and limits."""
        return self.services.access

    def new_session_id(self) -> str:
        """Return a new session id that routes to this process."""
        return self.sessions.replicas.new_id()

    # HTTP

    def add_routes(self, *routes: BaseRoute) -> None:
        """Add routes of the application."""
        self.added.routes.extend(routes)

    def make_router(self) -> APIRouter:
        """Return a new router of the application."""
        return self._make_router(APIRouter())

    def make_operator_router(self, prefix: str) -> APIRouter:
        """Return a new router for operators only, below `prefix`, such as "/api/operator/mqtt"."""
        guards = get_operator_dependencies(self.services)
        return self._make_router(APIRouter(prefix=prefix, dependencies=guards))

    def _make_router(self, router: APIRouter) -> APIRouter:
        self.added.routers.append(router)
        return router

    def add_error_form(self, form: ErrorForm) -> None:
        """Add another format of errors for some paths."""
        self.added.error_forms.append(form)

    def accept_form(self, path: str) -> None:
        """Accept a multipart form at this path. Its route must refuse files."""
        self.added.form_paths.add(path)

    # Work

    def run(
        self,
        name: str,
        *,
        start: Callable[[], None] | None = None,
        close: Callable[[], Awaitable[object]],
        last: bool = False,
    ) -> None:
        """Register `start` and `close` of a part. It is closed before the sessions, or after them if `last` is true."""
        if start is not None:
            self.added.starts.append(start)
        closes = self.added.last_closes if last else self.added.closes
        closes.append((name, close))

    def serve(self, run: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """Register a context that is entered while the application serves, and exited before anything closes."""
        self.added.serving.append(run)

    def add_health_facts(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Add fields to /health for operators."""
        self.added.health_facts.append(facts)

    def on_session_ended(self, callback: Callable[[str], None]) -> None:
        """Call `callback(session_id)` after the end of each session."""
        self.added.session_ended.append(callback)

    def on_engine_changed(self, callback: Callable[[], None]) -> None:
        """Call `callback()` after each change of the engine in use or of its status."""
        self.added.engine_changed.append(callback)

    # Sessions

    def add_session_part(self, make: MakePart, *messages: type[ClientMessage]) -> None:
        """Add a part to each new session. `messages`: the client's messages that it handles."""
        self.added.messages.add(*messages)
        self.added.message_types.extend(messages)
        self.added.session_features.makers[self.name] = make

    def on_alert(self, callback: Callable[[Alert], None]) -> None:
        """Call `callback(alert)` for each alert of a fixed camera."""
        self.added.alert_callbacks.append(callback)

    def alert(self, alert: Alert) -> None:
        """Notify features of an alert of a fixed camera."""
        for callback in self.added.alert_callbacks:
            callback(alert)

    # Other features

    def provide(self, kind: type[T], service: T) -> None:
        """Provide a service, the only one of its type, to the core and later features. Raises Collision."""
        if kind in self.added.provided:
            raise Collision(
                f"{self.name} and an earlier feature both provide {kind.__name__}. Remove one of them from FEATURES."
            )
        self.added.provided[kind] = service

    def get_service(self, kind: type[T]) -> T | None:
        """Return another feature's service of this type; None if that feature is off."""
        return cast("T | None", self.added.provided.get(kind))

    def require_service(self, kind: type[T]) -> T:
        """Return a service of a feature that NEEDS names."""
        return cast("T", self.added.provided[kind])


def check_messages(brought: Iterable[type[ClientMessage]]) -> None:
    """Raise Collision if a message type, or a field of `settings`, is defined twice."""
    types, fields = [], []
    for model in (*CORE_MESSAGES, *brought):
        (name,) = get_args(model.model_fields["type"].annotation)
        if name == "settings":
            fields += [
                (field, model.__module__) for field in get_annotations(model) if field != "type"
            ]
        else:
            types.append((name, model.__module__))
    check_unique("message", types)
    check_unique("field of settings", fields)


def register(names: Sequence[str], api: Callable[[str], Api], on: list[str]) -> None:
    """Register each feature, and append its name to `on`. `api(name)` returns its interface.

    Skip a feature that needs a disabled feature, or a package that is not installed.
    """
    for name in names:
        missing = ""
        try:
            module: ModuleType = importlib.import_module(f"server.features.{name}")
            needs: Sequence[str] = getattr(module, "NEEDS", ())
            missing = next((one for one in needs if one not in on), "")
            if not missing:
                module.register(api(name))
                on.append(name)
        except ModuleNotFoundError as error:
            missing = error.name or "server"
            if missing.partition(".")[0] == "server":
                raise
        if missing:
            log.warning(
                "feature disabled: requirement missing",
                extra={"task": name, "reason": missing},
            )

"""The interface between a feature and the server: parts that it may use, and places to add its own."""

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
from server.core.messages import ClientMessage, Parser
from server.core.metrics import Metrics
from server.media.picture.prepare import PicturePreparer
from server.models.selector import EngineSelector
from server.session.part import Alert, Operators, SessionFeatures
from server.session_manager import SessionManager
from server.web.middleware import ErrorForm
from server.web.request_guard import Access, Services, for_operators

if TYPE_CHECKING:
    from config import Settings
    from server.session.part import MakePart

log = logging.getLogger(__name__)
T = TypeVar("T")


class Additions:
    """Additions of features to a program: it does with each what `Api` says."""

    def __init__(self) -> None:
        self.messages = Parser()
        self.message_types: list[type[ClientMessage]] = []
        self.session_features = SessionFeatures()
        self.routers: list[APIRouter] = []
        self.routes: list[BaseRoute] = []
        self.error_forms: list[ErrorForm] = []
        self.starts: list[Callable[[], None]] = []
        self.closes: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        self.last_closes: list[tuple[str, Callable[[], Awaitable[object]]]] = []
        # Run beside the last answers when the server is about to stop
        self.drains: list[Callable[[Deadline], Coroutine[Any, Any, object]]] = []
        # Called with the port once the server listens, after its greeting on the terminal
        self.listening: list[Callable[[int], None]] = []
        self.health_facts: list[Callable[[], Mapping[str, Any]]] = []
        self.serving: list[Callable[[], AbstractAsyncContextManager[None]]] = []
        self.session_ended: list[Callable[[str], None]] = []
        self.engine_changed: list[Callable[[], None]] = []
        # What features offer each other and the core, by its type
        self.provided: dict[type[Any], Any] = {}
        self.alert_takers: list[Callable[[Alert], None]] = []


@dataclass(frozen=True)
class Api:
    """One for each feature; they register in the order of `server.app.features.FEATURES`.

    What is added stays until the program ends.
    """

    name: str
    added: Additions
    settings: Settings
    # What routes share
    services: Services
    # Threads, by what they are for
    pools: Pools
    # Makes pictures of frames for an engine or a page
    preparer: PicturePreparer
    # The engines that may answer; `engines.add` takes in another one
    engines: EngineSelector
    # Sockets of operators: to each of its `parts` belongs what it sends them
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
        """Make an id that leads a balancer to this process."""
        return self.sessions.replicas.new_id()

    # HTTP

    def routes(self, *routes: BaseRoute) -> None:
        """Add routes of the application."""
        self.added.routes.extend(routes)

    def router(self) -> APIRouter:
        """Add routes: those of the returned router."""
        return self._router(APIRouter())

    def operator_router(self, prefix: str) -> APIRouter:
        """Add routes for operators alone, below `prefix`, such as "/api/operator/mqtt"."""
        guards = for_operators(self.services)
        return self._router(APIRouter(prefix=prefix, dependencies=guards))

    def _router(self, router: APIRouter) -> APIRouter:
        self.added.routers.append(router)
        return router

    def error_form(self, form: ErrorForm) -> None:
        """Give errors at some addresses another form than ours."""
        self.added.error_forms.append(form)

    # Work

    def run(
        self,
        name: str,
        *,
        start: Callable[[], None] | None = None,
        close: Callable[[], Awaitable[object]],
        last: bool = False,
    ) -> None:
        """Start something with the program, and close it before the sessions, or with `last` after
        them. `close` may come without `start`.
        """
        if start is not None:
            self.added.starts.append(start)
        closes = self.added.last_closes if last else self.added.closes
        closes.append((name, close))

    def serve(self, run: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """Have `run()` entered while the application serves, and left before anything else ends."""
        self.added.serving.append(run)

    def health(self, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Add fields to what operators see of /health."""
        self.added.health_facts.append(facts)

    def on_session_ended(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the id of each session that has ended."""
        self.added.session_ended.append(tell)

    def on_engine_changed(self, tell: Callable[[], None]) -> None:
        """Have `tell` called when another engine answers, or the one that does has changed."""
        self.added.engine_changed.append(tell)

    # Sessions

    def session_part(self, make: MakePart, *messages: type[ClientMessage]) -> None:
        """Have each new session get a part, which acts on these messages of its client."""
        self.added.messages.add(*messages)
        self.added.message_types.extend(messages)
        self.added.session_features.makers[self.name] = make

    def on_alert(self, take: Callable[[Alert], None]) -> None:
        """Have `take` called with each alert of a fixed camera."""
        self.added.alert_takers.append(take)

    def alert(self, alert: Alert) -> None:
        """Tell the features of an alert of a fixed camera."""
        for take in self.added.alert_takers:
            take(alert)

    # Other features

    def provide(self, kind: type[T], face: T) -> None:
        """Let features that start later use this object, the only one of its kind. Raises Collision."""
        if kind in self.added.provided:
            raise Collision(
                f"{self.name} and a feature before it offer {kind.__name__}. Leave one out of FEATURES."
            )
        self.added.provided[kind] = face

    def get_service(self, kind: type[T]) -> T | None:
        """Return what another feature offers of this kind; None where that feature is off."""
        return cast("T | None", self.added.provided.get(kind))

    def require_service(self, kind: type[T]) -> T:
        """Return what a feature offers without which this one is off."""
        return cast("T", self.added.provided[kind])


def check_messages(brought: Iterable[type[ClientMessage]]) -> None:
    """Raise Collision if a feature brings a type of message, or a field of `settings`, that there is already."""
    core = (
        one for one in ClientMessage.__subclasses__() if one.__module__ == ClientMessage.__module__
    )
    types, fields = [], []
    for model in (*core, *brought):
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
    """Have each feature add itself to a program; `on` gets the names of those that did.

    One that needs a feature that is off, or a package that is not installed, is left out. `api(name)` is made for each.
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
                "a feature is off: what it needs is not there",
                extra={"task": name, "reason": missing},
            )

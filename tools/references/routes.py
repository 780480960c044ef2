"""The page of the HTTP routes, from the application: docstrings of routes, and models of bodies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.routing import BaseRoute

from config import load
from server.app.app import create_app
from server.app.features import FEATURES, list_installed_features
from server.features.generation.bounds import SoundRequest, VideoRequest
from server.features.generation.job import JobProgress
from server.features.hosting.catalogue.choice import Choice
from tools.references import fields
from tools.references.source import add_links, format_code, format_table, get_docstring, join

# Objects that routes parse or return without declaring a model to FastAPI
_OTHERS = (Choice, VideoRequest, SoundRequest, JobProgress)
_METHODS = ("WebSocket", "GET", "POST", "PATCH", "DELETE")
_INTRO = """# HTTP routes

Bodies are JSON objects but where another type is named; a field with `?` may be left out, and the
value behind the semicolon is its default. *needs*: what the bearer token is, or else lets a request in.
Answers below `/api/` carry `Cache-Control: no-store`. [protocol.md](../protocol.md) says how the
routes work together."""
_OPERATORS = """Unknown fields are refused. Without `OPERATOR_TOKEN` all of these answer 404. Errors carry the
operator's text, which may name addresses and settings."""


@dataclass(frozen=True)
class Route:
    methods: tuple[str, ...]
    path: str
    needs: str
    # Docstring of the route: a sentence, then more
    said: str
    bodies: tuple[type[BaseModel], ...]
    # "" for the core
    feature: str

    @property
    def name(self) -> str:
        return f"{', '.join(self.methods)} {self.path}"


def make_page() -> str:
    found = list_routes()
    bodies = list(dict.fromkeys(kind for one in found for kind in one.bodies))
    inner = [kind for body in bodies for kind in fields.find_used(body)[0]]
    kinds: list[type] = [*bodies, *inner, *_OTHERS]
    values = dict.fromkeys(kind for body in bodies for kind in fields.find_used(body)[1])
    names = {kind.__name__ for kind in (*kinds, *values)}
    core = [one for one in found if not one.feature]
    people = [one for one in core if one.needs != _OPERATOR]
    operators = [one for one in core if one.needs == _OPERATOR]
    return join(
        (
            _INTRO,
            "## For everybody",
            _make_section(people, names),
            "## For operators",
            _OPERATORS,
            _make_section(operators, names),
            *(
                join((f"## Feature {name}: {FEATURES[name]}", _make_section(own, names)))
                for name in list_installed_features()
                if (own := [one for one in found if one.feature == name])
            ),
            "## Objects",
            *(fields.make_object_section(kind, names, sent_by_client=True) for kind in kinds),
            *(fields.make_value_section(kind, names) for kind in values),
        )
    )


def _make_section(found: list[Route], names: set[str]) -> str:
    """Return a table of the routes, followed by the descriptions that do not fit into a line."""
    silent = [one.name for one in found if not one.said]
    if silent:
        raise fields.UndocumentedFieldError(f"{', '.join(silent)}: the route needs a docstring")
    rows = [(f"`{one.name}`", one.needs, add_links(_with_body(one, names), names)) for one in found]
    more: dict[str, list[str]] = {}
    for one in found:
        more.setdefault(one.said.partition("\n\n")[2], []).append(one.name)
    rest = [
        f"{format_code(named)}: {add_links(said, names)}" for said, named in more.items() if said
    ]
    return join((format_table(("route", "needs", "does"), rows), *rest))


def _with_body(route: Route, names: set[str]) -> str:
    said = route.said.partition("\n\n")[0]
    bodies = [kind.__name__ for kind in route.bodies if kind.__name__ in names]
    return f"{said} Body: {format_code(bodies)}." if bodies else said


_OPERATOR = "`OPERATOR_TOKEN`"
# Checks that routes depend on, by name, and what each one requires
_CHECKS = {
    "get_operator_dependencies.<locals>.operator": _OPERATOR,
    "add_offer_routes.<locals>.get_owner": f"{_OPERATOR}, or session's token at this machine",
    "RequestGuard.get_claims": "session's token",
    "CameraGuard.sender": "session's or camera's token",
}


def list_routes() -> list[Route]:
    """Return all routes of a server with every feature, in the order of their paths."""
    app = create_app(load(None, engine="builtin", features="all"))
    found: list[Route] = []
    for route in _iterate_flat(app.router.routes):
        endpoint = getattr(route, "endpoint", None)
        path = getattr(route, "path", "")
        if endpoint is None or not path or not getattr(route, "include_in_schema", True):
            continue
        methods = set(getattr(route, "methods", None) or ()) - {"HEAD"}
        module = getattr(endpoint, "__module__", "")
        if "WebSocket" in type(route).__name__:
            methods = {"WebSocket"}
        parts = module.split(".")
        # A plain ASGI application does not declare its methods: ours accept POST.
        found.append(
            Route(
                tuple(sorted(methods)) or ("POST",),
                re.sub(r"\{(\w+)(:\w+)?\}", r"<\1>", path),
                _describe_needs(route),
                get_docstring(endpoint),
                tuple(_iterate_bodies(route)),
                parts[2] if parts[1:2] == ["features"] else "",
            )
        )
    return sorted(found, key=lambda one: (one.path, [_METHODS.index(name) for name in one.methods]))


def _iterate_flat(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    for route in routes:
        # The routes of an included router are in its `original_router`.
        router = getattr(route, "original_router", None)
        if router is None:
            yield route
        else:
            yield from _iterate_flat(router.routes)


def _iterate_calls(dependant: Any) -> Iterator[str]:
    for one in dependant.dependencies:
        yield getattr(one.call, "__qualname__", "")
        yield from _iterate_calls(one)


def _describe_needs(route: BaseRoute) -> str:
    dependant = getattr(route, "dependant", None)
    called = [*_iterate_calls(dependant)] if dependant is not None else []
    return next((what for name, what in _CHECKS.items() if name in called), "")


def _iterate_bodies(route: BaseRoute) -> Iterator[type[BaseModel]]:
    dependant = getattr(route, "dependant", None)
    for one in dependant.body_params if dependant is not None else ():
        yield from fields.find_objects(one.field_info.annotation)

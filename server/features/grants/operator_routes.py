"""Operators' routes about programs: those that people let look, and access to fixed cameras, which have no page."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from fastapi import APIRouter

from server.core.errors import NotFound
from server.core.redact import session_hash
from server.features.grants.programs import programs_of
from server.features.grants.routes import GrantBody, made
from server.session.session import Session
from server.session_manager import SessionManager

log = logging.getLogger(__name__)


def add_operator_routes(router: APIRouter, sessions: SessionManager) -> None:
    @router.get("")
    async def listed() -> dict[str, Any]:
        """`programs`: those that visitors let look, a list of `session` (its name), `id`, `name`,
        `scopes`, `expires_at`, `last_used` (or `null`), `looks`.
        """
        return {
            "programs": [
                {"session": session_hash(session.id), **one.model_dump(exclude={"made_at"})}
                for session in sessions.visitors()
                for one in programs_of(session).listed().programs
            ]
        }

    @router.delete("/{name}/{id}")
    async def end_program(name: str, id: str) -> dict[str, Any]:
        """End the access of a visitor's program. Answers `ended`: 1."""
        found = next((one for one in sessions.visitors() if session_hash(one.id) == name), None)
        if found is None or not programs_of(found).end(id):
            raise NotFound("This process has no such access. It has ended, or expired.")
        log.info("the operator ends a program's access", extra={"count": 1})
        return {"ended": 1}


class NamedSessions(Protocol):
    """The fixed cameras."""

    def session(self, name: str) -> Session:
        """Raises NotFound."""


def add_camera_routes(router: APIRouter, cameras: NamedSessions) -> None:
    """Add the routes; the router is one for operators, below their path of cameras."""

    @router.post("/{name}/grants", status_code=201)
    async def give(name: str, body: GrantBody) -> dict[str, Any]:
        """Give a program access to a fixed camera, as `POST /api/grants`."""
        return made(cameras.session(name), body)

    @router.get("/{name}/grants")
    async def given(name: str) -> dict[str, Any]:
        """The programs with access to it, as `GET /api/grants`."""
        return programs_of(cameras.session(name)).listed().model_dump(exclude={"type"})

    @router.delete("/{name}/grants/{id}")
    async def end(name: str, id: str) -> dict[str, Any]:
        """End the access of one. Answers `ended`: 1."""
        if not programs_of(cameras.session(name)).end(id):
            raise NotFound("There is no program with this id. It may have no access any more.")
        return {"ended": 1}

    @router.delete("/{name}/grants")
    async def end_all(name: str) -> dict[str, Any]:
        """End the access of all. Answers `ended`: integer."""
        return {"ended": programs_of(cameras.session(name)).end_all()}

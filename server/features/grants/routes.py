"""The routes with which a person gives programs access, and the one with which a program sees its own."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from server.auth import Claims
from server.core.errors import NotFound
from server.core.redact import session_hash
from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramGuard
from server.features.grants.programs import info_of, programs_of
from server.session.session import Session
from server.session_manager import SessionManager
from server.shared.services import ListedCameras
from server.web.request_guard import RequestGuard, Services

PREFIX = "/api/grants"


class GrantBody(BaseModel):
    """The access that a program gets."""

    model_config = ConfigDict(extra="ignore")
    # The person's name for the program, 1 to 40 characters
    name: str = Field(
        # The grants check it and the seconds, so that their error says what is allowed.
        max_length=400
    )
    # What it may do
    scopes: list[Scope] = Field(max_length=8)
    # Until its access ends, 60 to 86,400
    seconds: int = Field(default=3600, ge=-1, le=10_000_000)


Checks = Sequence[Any]


def add_grant_routes(
    router: APIRouter,
    path: str,
    session_of: Callable[..., Awaitable[Session]],
    checks: Checks,
    ends: Checks,
) -> None:
    """Add routes that give access to the session of `session_of`, list it, and end it, with these checks."""

    @router.post(path, status_code=201, dependencies=checks)
    async def make(body: GrantBody, session: Session = Depends(session_of)) -> dict[str, Any]:
        """Give a program access. 201 with it, its `token`, which no other answer has, and `mcp` and
        `openai`, the paths of its MCP server and of OpenAI's interface.
        """
        grant, token = programs_of(session).make(body.name, body.scopes, body.seconds)
        return info_of(grant).model_dump() | {
            "token": token,
            "mcp": f"/at/{session.id}/mcp",
            "openai": f"/at/{session.id}/v1",
        }

    @router.get(path, dependencies=checks)
    async def listed(session: Session = Depends(session_of)) -> dict[str, Any]:
        """The programs that have access: the fields of the message `programs`.

        Each has `id`, `name`, `scopes`, `made_at`, `expires_at`, `last_used` (or `null`) and
        `looks`, the number of its looks.
        """
        return programs_of(session).program_list().model_dump(exclude={"type"})

    @router.delete(f"{path}/{{id}}", dependencies=ends)
    async def end(id: str, session: Session = Depends(session_of)) -> dict[str, Any]:
        """End a program's access at once, with what it runs and watches. Answers `ended`: 1."""
        if not programs_of(session).end(id):
            raise NotFound("There is no program with this id. It may have no access any more.")
        return {"ended": 1}

    @router.delete(path, dependencies=ends)
    async def end_all(session: Session = Depends(session_of)) -> dict[str, Any]:
        """End the access of all programs. Answers `ended`: integer."""
        return {"ended": programs_of(session).end_all()}


def add_routes(router: APIRouter, services: Services, programs: ProgramGuard) -> None:
    guard = RequestGuard(services)
    checks = [Depends(guard.origin), Depends(guard.home), Depends(guard.limit)]

    async def mine(claims: Claims = Depends(guard.claims)) -> Session:
        return services.sessions.find(claims.session_id)

    # Ends are not counted against the rate: whoever takes access back must not wait.
    add_grant_routes(router, PREFIX, mine, checks, checks[:2])

    @router.get("/api/program")
    async def own_access(request: Request) -> dict[str, Any]:
        """A program's own access, as above; needs the program's token, which opens nothing else here."""
        access = await programs.enter(request)
        access.programs.count_call(access.grant, None)
        return info_of(access.grant).model_dump()


# Operators' routes about programs: those that people let look, and access to fixed cameras, which
# have no page.

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
                for one in programs_of(session).program_list().programs
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


def add_camera_routes(router: APIRouter, cameras: ListedCameras) -> None:
    """Add the routes; the router is one for operators, below their path of cameras."""

    async def of(name: str) -> Session:
        return cameras.session(name)

    add_grant_routes(router, "/{name}/grants", of, (), ())

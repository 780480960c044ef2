"""Routes: for a person to give programs access, for a program to read its own, and for operators."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from server.auth import Claims
from server.core.errors import NotFound
from server.core.redact import hash_session_id
from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramGuard
from server.features.grants.programs import get_programs, make_program_info
from server.session.session import Session
from server.session_manager import SessionManager
from server.shared.services import ListedCameras
from server.web.request_guard import RequestGuard, Services

PREFIX = "/api/grants"


class GrantBody(BaseModel):
    """The access to give to a program."""

    model_config = ConfigDict(extra="ignore")
    # The person's name for the program, 1 to 40 characters
    name: str = Field(
        # `Grants` checks name and seconds, and its error states what is allowed.
        max_length=400
    )
    # The program's rights
    scopes: list[Scope] = Field(max_length=8)
    # Lifetime of the access in seconds, 60 to 86,400
    seconds: int = Field(default=3600, ge=-1, le=10_000_000)


Checks = Sequence[Any]


def add_grant_routes(
    router: APIRouter,
    path: str,
    session_of: Callable[..., Awaitable[Session]],
    checks: Checks,
    ends: Checks,
) -> None:
    """Add routes that give, list and end access to the session that `session_of` returns.

    `checks`, `ends`: dependencies of the routes that give and list access, and of those that end it.
    """

    @router.post(path, status_code=201, dependencies=checks)
    async def make(body: GrantBody, session: Session = Depends(session_of)) -> dict[str, Any]:
        """Give a program access. Return 201 with the access, its `token` (only here), and `mcp` and
        `openai`, the paths of the MCP server and of OpenAI's interface.
        """
        grant, token = get_programs(session).make(body.name, body.scopes, body.seconds)
        return make_program_info(grant).model_dump() | {
            "token": token,
            "mcp": f"/at/{session.id}/mcp",
            "openai": f"/at/{session.id}/v1",
        }

    @router.get(path, dependencies=checks)
    async def list_programs(session: Session = Depends(session_of)) -> dict[str, Any]:
        """Return the programs with access: the fields of the message `programs`.

        Each has `id`, `name`, `scopes`, `made_at`, `expires_at`, `last_used` (or `null`) and
        `looks`, the number of its looks.
        """
        return get_programs(session).make_program_list().model_dump(exclude={"type"})

    @router.delete(f"{path}/{{id}}", dependencies=ends)
    async def end(id: str, session: Session = Depends(session_of)) -> dict[str, Any]:
        """End a program's access at once, with its looks and watches. Return `ended`: 1; 404 for an unknown id."""
        if not get_programs(session).end(id):
            raise NotFound(
                "Program not found. Its access may have ended or expired. Reload the list of programs."
            )
        return {"ended": 1}

    @router.delete(path, dependencies=ends)
    async def end_all(session: Session = Depends(session_of)) -> dict[str, Any]:
        """End the access of all programs. Return `ended`: their number."""
        return {"ended": get_programs(session).end_all()}


def add_routes(router: APIRouter, services: Services, programs: ProgramGuard) -> None:
    guard = RequestGuard(services)
    checks = [Depends(guard.check_origin), Depends(guard.home), Depends(guard.limit)]

    async def mine(claims: Claims = Depends(guard.get_claims)) -> Session:
        return services.sessions.find(claims.session_id)

    # Ending access is not rate-limited, so that a person can always withdraw it at once.
    add_grant_routes(router, PREFIX, mine, checks, checks[:2])

    @router.get("/api/program")
    async def own_access(request: Request) -> dict[str, Any]:
        """Return a program's own access, with the fields above; needs the program's token, which opens no other route here."""
        access = await programs.enter(request)
        access.programs.count_call(access.grant, None)
        return make_program_info(access.grant).model_dump()


# Operators' routes: programs that visitors have given access, and access to fixed cameras, which have
# no page

log = logging.getLogger(__name__)


def add_operator_routes(router: APIRouter, sessions: SessionManager) -> None:
    @router.get("")
    async def list_programs() -> dict[str, Any]:
        """Return the programs that visitors have given access.

        `programs`: a list of `session` (a hash of its id), `id`, `name`, `scopes`, `expires_at`, `last_used` (or `null`),
        `looks`.
        """
        return {
            "programs": [
                {"session": hash_session_id(session.id), **one.model_dump(exclude={"made_at"})}
                for session in sessions.list_visitors()
                for one in get_programs(session).make_program_list().programs
            ]
        }

    @router.delete("/{name}/{id}")
    async def end_program(name: str, id: str) -> dict[str, Any]:
        """End the access of a visitor's program. Return `ended`: 1; 404 for an unknown one."""
        found = next(
            (one for one in sessions.list_visitors() if hash_session_id(one.id) == name), None
        )
        if found is None or not get_programs(found).end(id):
            raise NotFound(
                "Access not found in this process. It has ended or expired. Reload the list of programs."
            )
        log.info("program access ended by operator", extra={"count": 1})
        return {"ended": 1}


def add_camera_routes(router: APIRouter, cameras: ListedCameras) -> None:
    """Add the routes for fixed cameras. `router`: operators' routes below the path of cameras."""

    async def of(name: str) -> Session:
        return cameras.session(name)

    add_grant_routes(router, "/{name}/grants", of, (), ())

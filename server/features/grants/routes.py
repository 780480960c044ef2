"""The routes with which a person gives programs access, and the one with which a program sees its own."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from server.auth import Claims
from server.core.errors import NotFound
from server.features.grants.grants import Scope
from server.features.grants.guard import ProgramGuard
from server.features.grants.programs import Programs, programs_of
from server.session.session import Session
from server.web.context import Services
from server.web.request_guard import RequestGuard

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


def made(session: Session, body: GrantBody) -> dict[str, Any]:
    """Give access; return the answer with its token, which no other answer has."""
    grant, token = programs_of(session).make(body.name, body.scopes, body.seconds)
    listed = programs_of(session).listed().programs
    (info,) = (one for one in listed if one.id == grant.id)
    return info.model_dump() | {
        "token": token,
        "mcp": f"/at/{session.id}/mcp",
        "openai": f"/at/{session.id}/v1",
    }


def add_routes(router: APIRouter, services: Services, programs: ProgramGuard) -> None:
    guard = RequestGuard(services)
    checks = [Depends(guard.origin), Depends(guard.home), Depends(guard.limit)]

    def mine(claims: Claims = Depends(guard.claims)) -> Programs:
        return programs_of(services.sessions.find(claims.session_id))

    @router.post(PREFIX, status_code=201, dependencies=checks)
    async def make(body: GrantBody, claims: Claims = Depends(guard.claims)) -> dict[str, Any]:
        """Give a program access. 201 with it, its `token`, which no other answer has, and `mcp` and
        `openai`, the paths of its MCP server and of OpenAI's interface.
        """
        return made(services.sessions.find(claims.session_id), body)

    @router.get(PREFIX, dependencies=checks)
    async def listed(own: Programs = Depends(mine)) -> dict[str, Any]:
        """The programs that have access: the fields of the message `programs`.

        Each has `id`, `name`, `scopes`, `made_at`, `expires_at`, `last_used` (or `null`) and
        `looks`, the number of its looks.
        """
        return own.listed().model_dump(exclude={"type"})

    # Ends are not counted against the rate: whoever takes access back must not wait.
    @router.delete(f"{PREFIX}/{{id}}", dependencies=checks[:2])
    async def end(id: str, own: Programs = Depends(mine)) -> dict[str, Any]:
        """End a program's access at once, with what it runs and watches. Answers `ended`: 1."""
        if not own.end(id):
            raise NotFound("There is no program with this id. It may have no access any more.")
        return {"ended": 1}

    @router.delete(PREFIX, dependencies=checks[:2])
    async def end_all(own: Programs = Depends(mine)) -> dict[str, Any]:
        """End the access of all programs. Answers `ended`: integer."""
        return {"ended": own.end_all()}

    @router.get("/api/program")
    async def own_access(request: Request) -> dict[str, Any]:
        """A program's own access, as above; needs the program's token, which opens nothing else here."""
        entered = await programs.enter(request)
        entered.programs.use(entered.grant, None)
        (info,) = (one for one in entered.programs.listed().programs if one.id == entered.grant.id)
        return info.model_dump()

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
    model_config = ConfigDict(extra="ignore")
    # The grants check it, so that their error says what is allowed.
    name: str = Field(max_length=400)
    scopes: list[Scope] = Field(max_length=8)
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
        return made(services.sessions.find(claims.session_id), body)

    @router.get(PREFIX, dependencies=checks)
    async def listed(own: Programs = Depends(mine)) -> dict[str, Any]:
        return own.listed().model_dump(exclude={"type"})

    # Ends are not counted against the rate: whoever takes access back must not wait.
    @router.delete(f"{PREFIX}/{{id}}", dependencies=checks[:2])
    async def end(id: str, own: Programs = Depends(mine)) -> dict[str, Any]:
        if not own.end(id):
            raise NotFound("There is no program with this id. It may have no access any more.")
        return {"ended": 1}

    @router.delete(PREFIX, dependencies=checks[:2])
    async def end_all(own: Programs = Depends(mine)) -> dict[str, Any]:
        return {"ended": own.end_all()}

    @router.get("/api/program")
    async def own_access(request: Request) -> dict[str, Any]:
        entered = await programs.enter(request)
        entered.programs.use(entered.grant, None)
        (info,) = (one for one in entered.programs.listed().programs if one.id == entered.grant.id)
        return info.model_dump()

"""Operators' routes that give programs access to fixed cameras: nobody else does, since these have no page."""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import APIRouter

from server.core.errors import NotFound
from server.programs.routes import GrantBody, made
from server.session.session import Session


class NamedSessions(Protocol):
    """The fixed cameras."""

    def session(self, name: str) -> Session:
        """Raises NotFound."""


def add_camera_grants(router: APIRouter, cameras: NamedSessions) -> None:
    """Add the routes; the router is one for operators, below their path of cameras."""

    @router.post("/{name}/grants", status_code=201)
    async def give(name: str, body: GrantBody) -> dict[str, Any]:
        return made(cameras.session(name), body)

    @router.get("/{name}/grants")
    async def given(name: str) -> dict[str, Any]:
        return cameras.session(name).programs.listed().model_dump(exclude={"type"})

    @router.delete("/{name}/grants/{id}")
    async def end(name: str, id: str) -> dict[str, Any]:
        if not cameras.session(name).programs.end(id):
            raise NotFound("There is no program with this id. It may have no access any more.")
        return {"ended": 1}

    @router.delete("/{name}/grants")
    async def end_all(name: str) -> dict[str, Any]:
        return {"ended": cameras.session(name).programs.end_all()}

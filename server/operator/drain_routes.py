"""Operators' routes for the drain of this gateway: its state, order it, take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from fastapi import APIRouter

from server.access.operator_guard import OperatorGuard
from server.operator.routes import for_operators
from server.operator.session_routes import PREFIX

if TYPE_CHECKING:
    from server.web.context import Services


class Drain(Protocol):
    """An operator's drain. Its reports are the routes' answers."""

    async def begin(self) -> dict[str, Any]:
        """Raises Conflict."""
        ...

    async def undo(self) -> dict[str, Any]:
        """Raises Conflict."""
        ...

    def state(self) -> dict[str, Any]: ...


def create_drain_router(services: Services, operators: OperatorGuard, drain: Drain) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))

    @router.get("/drain")
    async def state() -> dict[str, Any]:
        """The drain of this gateway.

        `name`, `draining`, `stopping` (by a signal), `people` (with a page or a camera here),
        `moved`, `notice_seconds` (until people go), `room` (places at other gateways); `gateways`:
        as in `/health`, with this one.
        """
        return drain.state()

    @router.post("/drain", status_code=202)
    async def begin() -> dict[str, Any]:
        """Take nobody new, and after 5 s let people go on at other gateways. 202 and the same."""
        return await drain.begin()

    @router.delete("/drain")
    async def undo() -> dict[str, Any]:
        """Take people again. The same; 409 when the process is about to stop."""
        return await drain.undo()

    return router

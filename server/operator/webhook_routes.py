"""Operators' routes for webhooks: their state, a test, and the alarms that were given up."""

from __future__ import annotations

from fastapi import APIRouter

from server.access.operator_guard import OperatorGuard
from server.operator.routes import for_operators
from server.web.context import Services
from server.webhooks.webhooks import Webhooks

PREFIX = "/api/operator/webhooks"


def create_webhook_router(
    services: Services, operators: OperatorGuard, webhooks: Webhooks
) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))

    @router.get("")
    async def listed() -> dict[str, object]:
        return webhooks.seen()

    @router.post("/{name}/test", status_code=202)
    async def test(name: str) -> dict[str, object]:
        webhooks.test(name)
        return webhooks.seen()

    @router.post("/dead", status_code=202)
    async def again_all() -> dict[str, object]:
        return {"sent": webhooks.again_all(), **webhooks.seen()}

    @router.post("/dead/{id}", status_code=202)
    async def again(id: str) -> dict[str, object]:
        webhooks.again(id)
        return webhooks.seen()

    @router.delete("/dead/{id}")
    async def forget(id: str) -> dict[str, object]:
        webhooks.forget(id)
        return webhooks.seen()

    return router

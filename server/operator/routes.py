"""Operators' routes for engines: state, list of models, preview of the command, start and stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Depends, Request

from server.access.operator_guard import OperatorGuard
from server.auth import TokenRefused, bearer
from server.catalogue.choice import Choice
from server.operator import view
from server.web.request_guard import RequestGuard

if TYPE_CHECKING:
    from server.operator.service import Operations
    from server.web.context import Services

log = logging.getLogger(__name__)


PREFIX = "/api/engine"
# Less than the 30 s that a proxy in front waits.
STOP_SECONDS = 20.0


def for_operators(services: Services, operators: OperatorGuard) -> list[Any]:
    """Return the dependencies of operators' routes: the token, and an origin of this server's page."""
    guard = RequestGuard(services)

    async def operator(request: Request) -> None:
        try:
            given: str | None = bearer(request.headers.get("authorization"))
        except TokenRefused:
            given = None
        await operators.check(given, guard.address(request))
        request.state.operator = True

    return [Depends(guard.origin), Depends(operator)]


def create_operator_router(
    services: Services, operators: OperatorGuard, operations: Operations
) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))

    def standing() -> dict[str, Any]:
        return {"engine": operations.report().model_dump(exclude_none=True)}

    @router.get("")
    async def engine() -> dict[str, Any]:
        seen = await operations.probe()
        return {
            **standing(),
            # With the memory that unloading the current model would free.
            "models": view.listed(seen.models, seen.emptied, operations.fetch.command),
            "fetch": await view.fetching(operations.fetch),
            "machine": view.machine(seen.host),
            "troubles": view.troubles(seen.models),
            # The page should ask again soon
            "pending": bool(seen.host.vllm_pending),
        }

    @router.get("/fetch")
    async def fetching() -> dict[str, Any]:
        return await view.fetching(operations.fetch)

    @router.post("/fetch", status_code=202)
    async def fetch(body: dict[str, Any]) -> dict[str, Any]:
        await operations.fetch.start(body.get("model"))
        return await view.fetching(operations.fetch)

    @router.delete("/fetch")
    async def pause_fetch() -> dict[str, Any]:
        await operations.fetch.pause()
        return await view.fetching(operations.fetch)

    @router.post("/preview")
    async def preview(body: dict[str, Any]) -> dict[str, Any]:
        return await operations.preview(_choice(body))

    @router.post("/start", status_code=202)
    async def start(body: dict[str, Any]) -> dict[str, Any]:
        choice = _choice(body)
        await operations.manager.start(choice)
        log.info("the operator starts a model", extra={"kind": str(choice.mode)})
        return standing()

    @router.post("/stop")
    async def stop() -> dict[str, Any]:
        log.info("the operator stops the model")
        # If it takes longer, stopping continues, and the socket reports its end.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await operations.manager.stop()
        return standing()

    return router


def _choice(body: dict[str, Any]) -> Choice:
    return Choice.read(body)

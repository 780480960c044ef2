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
        """The engines: `engine` (the fields of the message `engine`), `models`, `fetch`, `machine`,
        `troubles`, `pending`.

        `models`: a list of `id`, `name`, `aliases`, `type`, `abilities`, `weights_bytes`,
        `memory_bytes`, `context_length`, `licence`, `note`, `here`, `fetch` (the command; empty for
        one that is here), and `modes`, a list of `mode`, `ok`, `reason`. `fetch`: as in `GET
        /api/engine/fetch`. `machine`: a sentence. `troubles`: sentences about what cannot be read.
        `pending`: ask again soon.
        """
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
        """The download of a model.

        `state` (`idle`, `fetching`, `checking`, `paused`, `failed`, `done`), `model`, `done_bytes`,
        `total_bytes` (0: unknown), `free_bytes` (on the disk where models are kept; `null`:
        unknown), `error`, `refused` (why nothing can be fetched from here).
        """
        return await view.fetching(operations.fetch)

    @router.post("/fetch", status_code=202)
    async def fetch(body: dict[str, Any]) -> dict[str, Any]:
        """Download `model` (`OWNER/NAME` of the catalogue), or go on with it: 202 and the same. 409
        while another one is fetched, or without `ALLOW_MODEL_DOWNLOADS`.
        """
        await operations.fetch.start(body.get("model"))
        return await view.fetching(operations.fetch)

    @router.delete("/fetch")
    async def pause_fetch() -> dict[str, Any]:
        """Pause the download, and keep the part that came. The same."""
        await operations.fetch.pause()
        return await view.fetching(operations.fetch)

    @router.post("/preview")
    async def preview(body: dict[str, Any]) -> dict[str, Any]:
        """The command that a choice would run. Body: `Choice`. Answers `command`, `elsewhere` (the
        other machine that pictures would go to) and `warnings`.
        """
        return await operations.preview(_choice(body))

    @router.post("/start", status_code=202)
    async def start(body: dict[str, Any]) -> dict[str, Any]:
        """Start a model. Body: `Choice`. 202 with `engine`."""
        choice = _choice(body)
        await operations.manager.start(choice)
        log.info("the operator starts a model", extra={"kind": str(choice.mode)})
        return standing()

    @router.post("/stop")
    async def stop() -> dict[str, Any]:
        """Stop the model. Answers `engine`; after 20 s also while it still stops."""
        log.info("the operator stops the model")
        # If it takes longer, stopping continues, and the socket reports its end.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS):
                await operations.manager.stop()
        return standing()

    return router


def _choice(body: dict[str, Any]) -> Choice:
    return Choice.read(body)

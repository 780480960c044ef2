"""Operators' routes for fixed cameras: list them, see one, ask it, open its session."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import Response

from server.app.api import Api
from server.camera.camera import Asked
from server.core.aio import in_pool
from server.core.errors import BadRequest
from server.core.messages.base import MAX_QUESTION_CHARS
from server.features.rtsp.asking import ask
from server.features.rtsp.standing import StandingCameras

PREFIX = "/api/operator/cameras"
# Pictures that are made at a time, of all cameras
_AT_ONCE = 2


def add_routes(api: Api, cameras: StandingCameras) -> None:
    router, services = api.operator_router(PREFIX), api.services
    making = asyncio.Semaphore(_AT_ONCE)

    @router.get("")
    async def listed() -> dict[str, Any]:
        return {"cameras": cameras.seen()}

    @router.get("/{name}/picture")
    async def picture(name: str) -> Response:
        camera = cameras.find(name).camera
        frame = await camera.frame_after(Asked(at=time.monotonic(), wall=time.time(), sent=None))
        async with making:
            jpeg = await in_pool(api.pools.prepare, api.preparer.still, frame)
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    @router.post("/{name}/ask")
    async def answer(name: str, body: dict[str, Any]) -> dict[str, Any]:
        question = body.get("content")
        if not isinstance(question, str) or not 0 < len(question.strip()) <= MAX_QUESTION_CHARS:
            raise BadRequest(
                f'"content" is not a question of 1 to {MAX_QUESTION_CHARS} characters. Put the question there.'
            )
        session = cameras.find(name)
        return await ask(session, question, attended=services.sessions.listens(session.id))

    @router.post("/{name}/retry", status_code=202)
    async def retry(name: str) -> dict[str, Any]:
        cameras.hurry(name)
        return {"cameras": cameras.seen()}

    @router.post("/{name}/token")
    async def token(name: str) -> dict[str, Any]:
        session = cameras.find(name)
        issued = services.tokens.issue(session.id)
        return {
            "token": issued.token,
            "session_id": session.id,
            "expires_in": issued.expires_in,
        }

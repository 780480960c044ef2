"""Operators' routes for the house's cameras: list them, see one, ask it, open its session, let programs look."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Response

from server.access.operator_guard import OperatorGuard
from server.camera.camera import Asked
from server.core.aio import in_pool
from server.core.errors import BadRequest, NotFound
from server.core.messages.base import MAX_QUESTION_CHARS
from server.operator.routes import for_operators
from server.programs.routes import GrantBody, made
from server.standing.asking import ask
from server.standing.standing import StandingCameras
from server.vision.prepare import PicturePreparer
from server.web.context import Services

PREFIX = "/api/operator/cameras"
# Pictures that are made at a time, of all cameras
_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class CameraDesk:
    """The parts that the routes use."""

    cameras: StandingCameras
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor


def create_camera_router(
    services: Services, operators: OperatorGuard, desk: CameraDesk
) -> APIRouter:
    router = APIRouter(prefix=PREFIX, dependencies=for_operators(services, operators))
    cameras = desk.cameras
    making = asyncio.Semaphore(_AT_ONCE)

    @router.get("")
    async def listed() -> dict[str, Any]:
        return {"cameras": cameras.seen()}

    @router.get("/{name}/picture")
    async def picture(name: str) -> Response:
        camera = cameras.find(name).camera
        frame = await camera.frame_after(Asked(at=time.monotonic(), wall=time.time(), sent=None))
        async with making:
            jpeg = await in_pool(desk.prepare_pool, desk.preparer.still, frame)
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

    # Programs: nobody else gives them access to a camera that has no page.

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

    return router

"""Operators' routes for videos and sound: start a job, read its progress, cancel it, fetch the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from server.core.aio import run_in_pool
from server.core.errors import EngineUnavailable
from server.core.frames import Detail
from server.features.generation.bounds import (
    VideoRequest,
    request_limits,
    validate_sound_request,
    validate_video_request,
)
from server.features.generation.generator import GenerationRuntime
from server.features.generation.job import GenerationJob, crop_and_resize
from server.features.generation.rules import Output
from server.features.hosting.catalogue.entry import Ability
from server.models.base import Capabilities

if TYPE_CHECKING:
    from server.app.api import Api
    from server.features.hosting.manager import EngineManager

# The camera's picture in full size, after the privacy filters
_AS_IT_IS = Capabilities(wants_pixels=True)
# Bytes of a piece of the response
_PIECE_BYTES = 64 * 1024


def add_routes(router: APIRouter, api: Api, job: GenerationJob, manager: EngineManager) -> None:
    """Add the routes for `video` and `sound`. `manager` has the loaded model."""

    def get_current_job() -> dict[str, Any]:
        model = _find_loaded_model(manager)
        takes = None
        if model is not None:
            takes = {
                "kind": model.rules.output,
                "backend": model.backend,
                **request_limits(model.rules),
            }
        return {"making": asdict(job.progress), "takes": takes}

    def add(kind: Output) -> None:
        @router.get(f"/{kind}")
        async def progress() -> dict[str, Any]:
            """The current job, `making`, and what the loaded model accepts.

            `takes` is `null` without such a model; else `kind`, `backend`, and the bounds for this
            model: `fields` (of `negative`, `guidance`, `steps`, `seconds`), `first_frame` (`never`,
            `may`, `must`), `factor`, `frame_step`, `min_side`, `max_side`, `max_pixels`, `max_frames`,
            `max_fps`, `max_seconds`, `max_steps`, `max_guidance`, `max_text`, `sample_rate`,
            `defaults`. `making`: `JobProgress`.
            """
            return get_current_job()

        @router.post(f"/{kind}", status_code=202)
        async def start(body: dict[str, Any]) -> dict[str, Any]:
            """Start a job; one runs at a time. Return 202 with the same fields. Body: `VideoRequest` or
            `SoundRequest`.
            """
            model = _get_loaded_model(manager, kind, body)
            if kind == "sound":
                job.start(model, validate_sound_request(body, model.rules))
                return get_current_job()
            request = validate_video_request(body, model.rules)
            picture = b""
            if request.camera:
                # First, because preparing a picture may take half a second
                job.check_free(model)
                picture = await _capture_first_frame(api, request)
            job.start(model, request, picture)
            return get_current_job()

        @router.delete(f"/{kind}")
        async def cancel() -> dict[str, Any]:
            """Cancel the job. Return the same fields."""
            await job.cancel()
            return get_current_job()

        @router.get(f"/{kind}/result")
        async def result(request: Request) -> Response:
            """The result, as MP4, WAV or PCM: once, or again if the connection broke. Kept for 10 minutes."""
            return _make_result_response(job, head=bool(request.scope.get("head")))

    add("video")
    add("sound")


def _make_result_response(job: GenerationJob, *, head: bool) -> Response:
    """Return the response with the result. It stays available after a HEAD request or a broken connection."""
    made = job.take()
    headers = {"Content-Length": str(len(made.data))}
    if head:
        return Response(headers=headers, media_type=made.media_type)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(made.data), _PIECE_BYTES):
            yield made.data[at : at + _PIECE_BYTES]
            # uvicorn accepts data even after the client has disconnected: let the task run that notices it.
            await asyncio.sleep(0)
        job.mark_delivered(made)

    return StreamingResponse(pieces(), media_type=made.media_type, headers=headers)


def _find_loaded_model(manager: EngineManager) -> GenerationRuntime | None:
    """Return the loaded model if it makes videos or sound; else None."""
    model = manager.ready_runtime
    return model if isinstance(model, GenerationRuntime) else None


def _get_loaded_model(
    manager: EngineManager, kind: Output, body: dict[str, Any]
) -> GenerationRuntime:
    """Return the loaded model that makes this kind. Raises WrongModel, EngineUnavailable."""
    model = _find_loaded_model(manager)
    if model is not None and model.rules.output == kind:
        return model
    if kind == "video":
        given = body.get("camera") is not None
        manager.require(Ability.IMAGE_TO_VIDEO if given else Ability.TEXT_TO_VIDEO)
    else:
        manager.require(Ability.TEXT_TO_SPEECH, Ability.TEXT_TO_AUDIO)
    # The manager has not noticed yet that the model has ended.
    raise EngineUnavailable(
        "The model's process has just ended. Try again when the model is loaded again."
    )


async def _capture_first_frame(api: Api, request: VideoRequest) -> bytes:
    """Return the sharpest filtered picture of the next 0.4 s of the session's camera, as RGB of the requested size.

    Raises Unauthorized, NotFound, CameraError.
    """
    session = api.sessions.find(api.access.tokens.verify(request.camera).session_id)
    frame, pool = await session.camera.wait_for_sharpest(), api.pools.prepare
    made = await run_in_pool(pool, api.preparer.make, frame, _AS_IT_IS, Detail.HIGH)
    if made.bgr is None:
        raise RuntimeError("a picture without pixels")
    return await run_in_pool(pool, crop_and_resize, made.bgr, request.width, request.height)

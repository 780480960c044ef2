"""Operators' routes for videos and sound: start a job, watch it, fetch the result, cancel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from server.core.aio import in_pool
from server.core.errors import BadRequest, EngineUnavailable
from server.core.frames import Detail
from server.features.generation.bounds import VideoRequest, limits, sound_request, video_request
from server.features.generation.files import Made, cover
from server.features.generation.generator import MediaModel
from server.features.generation.job import GenerationJob
from server.features.hosting.catalogue.entry import Ability, Model
from server.media.picture.prepare import PicturePreparer
from server.models.base import Capabilities
from server.web.context import Services

# The camera's picture in its own size, filtered.
_AS_IT_IS = Capabilities(wants_pixels=True)
# A result is sent in pieces of this size.
_PIECE_BYTES = 64 * 1024


class Kind(StrEnum):
    VIDEO = "video"
    SOUND = "sound"


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts that the routes use."""

    making: GenerationJob
    # The loaded model if it makes videos or sound
    loaded: Callable[[], MediaModel | None]
    # Returns the loaded model if it has one of these abilities. Raises WrongModel.
    require: Callable[..., Model]
    preparer: PicturePreparer
    prepare_pool: ThreadPoolExecutor


def add_routes(router: APIRouter, services: Services, workshop: Workshop) -> None:
    making = workshop.making

    def standing() -> dict[str, Any]:
        model = workshop.loaded()
        takes = None
        if model is not None:
            takes = {"kind": _kind(model), "backend": model.backend, **limits(model.rules)}
        return {"making": making.progress.message(), "takes": takes}

    for kind in Kind:
        _add(router, kind, services, workshop, standing)


def _add(
    router: APIRouter,
    kind: Kind,
    services: Services,
    workshop: Workshop,
    standing: Callable[[], dict[str, Any]],
) -> None:
    making = workshop.making

    @router.get(f"/{kind}")
    async def progress() -> dict[str, Any]:
        """The piece of work, `making`, and what the loaded model takes.

        `takes` is `null` without such a model; else `kind`, `backend`, and the bounds for this
        model: `fields` (of `negative`, `guidance`, `steps`, `seconds`), `first_frame` (`never`,
        `may`, `must`), `factor`, `frame_step`, `min_side`, `max_side`, `max_pixels`, `max_frames`,
        `max_fps`, `max_seconds`, `max_steps`, `max_guidance`, `max_text`, `sample_rate`,
        `defaults`. `making`: `JobProgress`.
        """
        return standing()

    @router.post(f"/{kind}", status_code=202)
    async def start(body: dict[str, Any]) -> dict[str, Any]:
        """Make a video or sound; one job runs at a time. 202 and the same. Body: `VideoRequest` or
        `SoundRequest`.
        """
        model = _loaded_for(workshop, kind, body)
        if kind is Kind.SOUND:
            making.start(model, sound_request(body, model.rules))
            return standing()
        asked = video_request(body, model.rules)
        picture = b""
        if asked.camera:
            # Before preparing a picture, which may take half a second
            making.check_free(model)
            picture = await _first_frame(services, workshop, body["camera"], asked)
        making.start(model, asked, picture)
        return standing()

    @router.delete(f"/{kind}")
    async def cancel() -> dict[str, Any]:
        """Cancel the work. The same."""
        await making.cancel()
        return standing()

    @router.get(f"/{kind}/result")
    async def result() -> Response:
        """The file, MP4, WAV or PCM, once; again only where the connection broke. Kept for 10
        minutes.
        """
        return _HandingOver(making, making.take())


class _HandingOver(StreamingResponse):
    """Sends the result once; after a broken connection it stays available."""

    def __init__(self, making: GenerationJob, made: Made) -> None:
        length = {"Content-Length": str(len(made.data))}
        super().__init__(self._pieces(), media_type=made.media_type, headers=length)
        self._making, self._made = making, made

    async def _pieces(self) -> AsyncIterator[bytes]:
        data = self._made.data
        for at in range(0, len(data), _PIECE_BYTES):
            yield data[at : at + _PIECE_BYTES]
            # uvicorn accepts data also after the client has gone: let the task that notices it run.
            await asyncio.sleep(0)
        self._making.handed_over(self._made)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope.get("head"):
                # The result is still there for a GET.
                await Response(headers=self.headers)(scope, receive, send)
            else:
                await super().__call__(scope, receive, send)
        finally:
            self._making.put_back(self._made)


def _kind(model: MediaModel) -> Kind:
    return Kind.VIDEO if model.rules.output == "video" else Kind.SOUND


def _loaded_for(workshop: Workshop, kind: Kind, body: dict[str, Any]) -> MediaModel:
    """Return the loaded generating model for this kind. Raises WrongModel."""
    model = workshop.loaded()
    if model is not None and _kind(model) is kind:
        return model
    if kind is Kind.VIDEO:
        given = body.get("camera") is not None
        workshop.require(Ability.IMAGE_TO_VIDEO if given else Ability.TEXT_TO_VIDEO)
    else:
        workshop.require(Ability.TEXT_TO_SPEECH, Ability.TEXT_TO_AUDIO)
    # The manager still has the model, but it has just ended.
    raise EngineUnavailable("The model has just ended. Wait until it is loaded again.")


async def _first_frame(
    services: Services, workshop: Workshop, token: Any, asked: VideoRequest
) -> bytes:
    """Take the sharpest filtered picture of the next 0.4 s from the camera of the token's session.

    Raises BadRequest, Unauthorized, NotFound, CameraError.
    """
    if not isinstance(token, str):
        raise BadRequest("camera is not text; allowed is the token of the session whose camera it is.")  # fmt: skip
    session = services.sessions.find(services.access.tokens.verify(token).session_id)
    frame = await session.camera.sharpest()
    made = await in_pool(
        workshop.prepare_pool, workshop.preparer.make, frame, _AS_IT_IS, Detail.HIGH
    )
    if made.bgr is None:
        raise RuntimeError("a picture without pixels")
    return await in_pool(workshop.prepare_pool, cover, made.bgr, asked.width, asked.height)

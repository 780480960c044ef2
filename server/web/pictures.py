"""The route that shows a visitor the very picture that an engine got with an answer."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, Response

from server.auth import Claims
from server.core.errors import NotFound
from server.vision import encode
from server.web.context import Services
from server.web.request_guard import RequestGuard


def add_pictures(router: APIRouter, services: Services, guard: RequestGuard) -> None:
    """Add `GET /api/pictures/{id}` for the session of the request's token."""

    @router.get(
        "/api/pictures/{id}",
        dependencies=[Depends(guard.origin), Depends(guard.home), Depends(guard.limit)],
    )
    async def picture(id: str, claims: Claims = Depends(guard.claims)) -> Response:
        session = services.sessions.find(claims.session_id)
        sent = session.sent_pictures.get(id)
        if sent is None:
            raise NotFound(
                "This picture is not kept any more: newer ones took its place, or it was deleted."
            )
        jpeg = sent.jpeg
        if jpeg is None:
            assert sent.bgr is not None
            # Beside the event loop: an engine that reads pixels got the camera's whole size.
            jpeg = await asyncio.to_thread(encode.jpeg, sent.bgr)
        services.metrics.sent_pictures.labels("shown").inc()
        return Response(jpeg, media_type="image/jpeg")

"""The pictures of alerts, for receivers of webhooks that got their addresses."""

from __future__ import annotations

import time

from fastapi import APIRouter, Response

from server.core.errors import NotFound
from server.features.webhooks.webhooks import Webhooks


def create_evidence_router(webhooks: Webhooks) -> APIRouter:
    """Make the route. The word in an address has 256 random bits, and is all that it asks for; the id before it leads
    balancers to the process that has the picture.
    """
    router = APIRouter()

    @router.get("/at/{process}/evidence/{word}")
    async def picture(process: str, word: str) -> Response:
        jpeg = webhooks.links.get(word, time.monotonic())
        if jpeg is None:
            raise NotFound(
                "There is no picture here. Its address lives a minute: fetch it as soon as the alert comes."
            )
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

    return router

"""The routes of webhooks: for operators their state, a test and the alerts that were given up; for receivers pictures."""

from __future__ import annotations

import time

from fastapi import Response

from server.app.api import Api
from server.core.errors import NotFound
from server.features.webhooks.webhooks import Webhooks

PREFIX = "/api/operator/webhooks"


def add_routes(api: Api, webhooks: Webhooks) -> None:
    router = api.operator_router(PREFIX)

    @router.get("")
    async def listed() -> dict[str, object]:
        """The receivers of webhooks, and the alerts that were given up.

        `webhooks`: a list of `name`, `host`, `state` (`unused`, `ok`, `failing`, `gone`), `trouble`
        (a word; empty for none), `detail` (a sentence), `status` (of the last answer; 0 for none),
        `cameras`, `people`, `evidence`, `waiting`, `delivered`, `failed` (attempts). `dead`: a list
        of `id`, `webhook`, `camera` (empty for a visitor's), `attempts`, `trouble`, `status`,
        `since_seconds`.
        """
        return webhooks.seen()

    @router.post("/{name}/test", status_code=202)
    async def test(name: str) -> dict[str, object]:
        """Send a signed test without a picture. 202 and the same."""
        webhooks.test(name)
        return webhooks.seen()

    @router.post("/dead", status_code=202)
    async def again_all() -> dict[str, object]:
        """Send all alerts again that were given up. 202 and the same, with `sent`."""
        return {"sent": webhooks.again_all(), **webhooks.seen()}

    @router.post("/dead/{id}", status_code=202)
    async def again(id: str) -> dict[str, object]:
        """Send this one again. 202 and the same."""
        webhooks.again(id)
        return webhooks.seen()

    @router.delete("/dead/{id}")
    async def forget(id: str) -> dict[str, object]:
        """Drop this one. The same."""
        webhooks.forget(id)
        return webhooks.seen()

    # The word in an address has 256 random bits, and is all that it asks for; the id before it leads balancers to the
    # process that has the picture.
    @api.router().get("/at/{process}/evidence/{word}")
    async def picture(process: str, word: str) -> Response:
        """The JPEG of an alert, for a minute, to a receiver that got its address; the word in it is
        all that it asks for. Else 404.
        """
        jpeg = webhooks.links.get(word, time.monotonic())
        if jpeg is None:
            raise NotFound(
                "There is no picture here. Its address lives a minute: fetch it as soon as the alert comes."
            )
        return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

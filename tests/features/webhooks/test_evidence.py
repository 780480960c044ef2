"""Pictures of alerts under addresses that nobody guesses."""

from __future__ import annotations

import time

from tests.support.clients import http
from tests.support.fakes_app import assert_error
from tests.support.running import running


async def test_a_picture_is_there_for_a_minute() -> None:
    """For whoever knows its word, kept by nobody on the way; then there is none."""
    async with running() as run, http(run) as client:
        links = run.program.feature("webhooks").links
        word, _ = links.make(b"\xff\xd8jpeg", "session", "hall", time.monotonic())
        for _ in range(2):
            reply = await client.get(f"/at/x/evidence/{word}")
            assert (reply.status_code, reply.content) == (200, b"\xff\xd8jpeg")
            assert reply.headers["content-type"] == "image/jpeg"
            assert reply.headers["cache-control"] == "no-store"
        for wrong in (word[:-1], word + "a", "x", "%2e%2e"):
            assert (await client.get(f"/at/x/evidence/{wrong}")).status_code == 404
        over, _ = links.make(b"\xff\xd8jpeg", "session", "hall", time.monotonic() - 61)
        assert_error(await client.get(f"/at/x/evidence/{over}"), 404, "not_found", retryable=False)
        links.end("session")
        assert (await client.get(f"/at/x/evidence/{word}")).status_code == 404

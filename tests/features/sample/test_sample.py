"""The sample does what a feature may do: a message, a setting, a metric, a route."""

from __future__ import annotations

from tests.support.clients import http, metric, page_of, take_token
from tests.support.running import running

OPERATOR = "operator-token-of-a-test-0123456789"


async def test_waves_are_counted() -> None:
    settings = {"features": "sample", "sample_most_waves": 2, "operator_token": OPERATOR}
    async with running(**settings) as run, page_of(run) as page:
        assert (await page.next("waves"))["count"] == 0
        for count in (1, 2):
            await page.send(type="wave")
            assert (await page.next("waves"))["count"] == count
        await page.send(type="wave")
        assert (await page.next("error"))["code"] == "conflict"
        assert metric(run, "waves_total") == 2
        async with http(run, OPERATOR) as client:
            assert (await client.get("/api/operator/sample")).json() == {"waves": 2}


async def test_it_is_off_unless_it_is_named() -> None:
    async with running() as run:
        assert "sample" not in run.program.added.session_features.on
        assert (await take_token(run))["token"]

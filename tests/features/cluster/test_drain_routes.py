"""The operator's drain, at two true gateways with a Redis between them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from server.features.cluster import handover
from tests.features.cluster.gateways import gateways, know
from tests.features.cluster.test_moving import arrive
from tests.support.clients import bearer, http, metric, soon, take_token
from tests.support.fakes_app import assert_error
from tests.support.redis_server import redis_server
from tests.support.running import Running
from tests.support.timing import NEVER_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.asyncio]

OPERATOR = "operator-token-of-this-test"
RIGHT = bearer(OPERATOR)
DRAIN = "/api/operator/drain"


@pytest_asyncio.fixture
async def two(tmp_path: Path, patience: None) -> AsyncIterator[list[Running]]:
    async with (
        redis_server(tmp_path) as redis,
        gateways(redis, "h1", "h2", operator_token=OPERATOR) as both,
    ):
        yield both


async def ordered(run: Running, method: str = "GET") -> dict[str, Any]:
    """Ask the operator's route of one gateway."""
    async with http(run) as client:
        reply = await client.request(method, DRAIN, headers=RIGHT)
        assert reply.status_code == (202 if method == "POST" else 200), reply.text
        body: dict[str, Any] = reply.json()
        return body


async def health(run: Running) -> tuple[int, dict[str, Any]]:
    async with http(run) as client:
        reply = await client.get("/health", headers=RIGHT)
        return reply.status_code, reply.json()


async def test_people_go_on_while_the_process_runs(
    two: list[Running], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The page is asked to go; newcomers get the other gateway; the state, the health, the metrics and
    the log say so; a client that cannot go stays, and comes back on a new socket. The stop that
    follows tells nobody twice.
    """
    monkeypatch.setattr(handover, "NOTICE_SECONDS", 0.0)
    caplog.set_level(logging.INFO, "server.features.cluster.handover")
    one, other = two
    page, _ = await arrive(one)
    granted = await take_token(one)
    stays, token = await arrive(one)
    await stays.send(type="settings", handover=False)
    await stays.ponged()
    assert granted["session_id"].startswith("h1-")
    before = await ordered(one)
    assert (before["draining"], before["people"], before["moved"]) == (False, 2, 0)
    begun = await ordered(one, "POST")
    assert (begun["draining"], begun["name"], begun["room"] > 0) == (True, "h1", True)
    await page.next("moved", timeout=30)
    await page.close()
    async with asyncio.timeout(30):
        while (state := await ordered(one))["moved"] < 1:
            await asyncio.sleep(0.05)
    assert (state["people"], state["stopping"]) == (1, False)
    assert {g["name"]: g["draining"] for g in state["gateways"]} == {"h1": True, "h2": False}
    status, body = await health(one)
    assert (status, body["draining"]) == (503, True)
    assert body["reason"] == "draining: an operator drains this process"
    assert metric(one, "draining", by="operator") == 1
    assert metric(one, "draining", by="stop") == 0
    assert metric(one, "sessions_moved_total") == 1
    assert (await take_token(one))["session_id"].startswith("h2-")
    # A session of before that had not begun does not begin any more; one that is here goes on.
    async with http(one) as client:
        offer = {"sdp": "v=0", "type": "offer"}
        own = bearer(granted["token"])
        refused = await client.post("/api/webrtc/offer", json=offer, headers=own)
        assert_error(refused, 503, "draining", retryable=True)
    assert "moved" not in [m["type"] for m in await stays.ponged()]
    await know(other)
    _, seen = await health(other)
    assert [g["draining"] for g in seen["gateways"]] == [True]
    stopping = asyncio.create_task(one.program.drain())
    assert (await stays.closed(timeout=30))[0] == 1013
    await stopping
    async with http(one) as client:
        assert_error(await client.delete(DRAIN, headers=RIGHT), 409, "conflict", retryable=False)
    said = [record.getMessage() for record in caplog.records]
    assert "drain started by the operator" in said
    # Neither tokens nor sessions
    assert token not in caplog.text


async def test_an_order_that_was_a_mistake(
    two: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken back before anybody heard of it, nothing has happened; the order given twice is one."""
    monkeypatch.setattr(handover, "NOTICE_SECONDS", NEVER_SECONDS)
    one, other = two
    page, _ = await arrive(one)
    for _ in range(2):
        state = await ordered(one, "POST")
        assert state["draining"]
        assert 0 < state["notice_seconds"] <= handover.NOTICE_SECONDS
    assert (await take_token(one))["session_id"].startswith("h2-")
    after = await ordered(one, "DELETE")
    assert (after["draining"], after["people"], after["moved"]) == (False, 1, 0)
    assert (await ordered(one, "DELETE"))["draining"] is False
    assert (await take_token(one))["session_id"].startswith("h1-")
    assert "moved" not in [m["type"] for m in await page.ponged()]
    assert (await health(one))[1]["draining"] is False
    assert metric(one, "draining", by="operator") == 0
    await know(other)
    assert [g["draining"] for g in (await health(other))[1]["gateways"]] == [False]
    await page.close()


async def test_without_room_elsewhere_people_stay(
    two: list[Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "NOTICE_SECONDS", 0.0)
    one, other = two
    page, _ = await arrive(one)
    await ordered(other, "POST")
    await know(one)
    state = await ordered(one, "POST")
    assert (state["room"], state["people"]) == (0, 1)
    async with http(one) as client:
        assert_error(await client.post("/api/token"), 503, "draining", retryable=True)
    await page.send(type="ping")
    assert "moved" not in [m["type"] for m in await page.ponged()]
    await ordered(other, "DELETE")
    await know(one)
    await page.next("moved", timeout=30)
    await page.close()
    await soon(lambda: metric(one, "sessions_moved_total") == 1, 30)

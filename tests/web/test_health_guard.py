"""The access to all of /health, over true connections."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from server.auth import FLOOR
from server.web.request_guard import from_this_machine
from tests.support.clients import http, open_page
from tests.support.running import Running, running
from tests.support.timing import allowances_held

METRICS, OPERATOR = "metrics-token-of-this-test", "operator-token-of-this-test"
# Nothing listens there.
DOWN = "http://127.0.0.1:9/v1"
INNER = ("127.0.0.1", ":9", "VLLM_", "REDIS", "inner-model")


async def health(run: Running, **headers: str) -> httpx.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with http(run) as client:
        return await client.get("/health", headers=names)


def is_whole(body: dict[str, Any]) -> bool:
    return {"engines", "turn", "limits", "sessions"} <= body.keys() and "model" in body["engine"]


def tells_nothing(text: str) -> bool:
    return not any(word in text for word in INNER)


async def test_without_any_token_this_machine_sees_all() -> None:
    """A request from loopback, by a loopback name, past no proxy; all others see the summary."""
    async with running(engine="vllm", vllm_base_url=DOWN, model_name="inner-model") as run:
        whole = await health(run)
        assert is_whole(whole.json())
        assert "127.0.0.1:9" in whole.json()["reason"]
        assert is_whole((await health(run, host=f"localhost:{run.port}")).json())
        for headers in (
            {"x_forwarded_for": "203.0.113.7"},
            {"forwarded": "for=203.0.113.7"},
            {"via": "1.1 proxy"},
            {"x_real_ip": "127.0.0.1"},
            {"host": "cam.example.org"},
        ):
            told = await health(run, **headers)
            assert told.status_code == 503, headers
            assert told.json()["engine"]["state"] == "unreachable"
            assert told.json()["ready"] is False
            assert tells_nothing(told.text), headers


@pytest.mark.parametrize("kind", ["metrics_token", "operator_token"])
async def test_a_token_is_asked_for_where_one_is_set(kind: str) -> None:
    """On loopback, too. A wrong one is refused; the right one sees all, however often."""
    token = METRICS if kind == "metrics_token" else OPERATOR
    settings: dict[str, Any] = {kind: token, "rate_limit_per_minute": 0}
    async with running(engine="vllm", vllm_base_url=DOWN, **settings) as run:
        assert tells_nothing((await health(run)).text)
        for _ in range(FLOOR + 2):
            whole = await health(run, authorization=f"Bearer {token}")
            assert is_whole(whole.json())
        wrong = await health(run, authorization="Bearer no-such-token")
        assert wrong.status_code == 401
        assert tells_nothing(wrong.text)


@pytest.mark.slow
async def test_guesses_are_few() -> None:
    """Of both tokens together, without a limit on other requests; too many get no answer."""
    settings: dict[str, Any] = {"metrics_token": METRICS, "operator_token": OPERATOR}
    async with allowances_held(), running(rate_limit_per_minute=0, **settings) as run:
        statuses = [
            (await health(run, authorization=f"Bearer guess-{n}")).status_code for n in range(60)
        ]
        assert statuses.count(401) <= FLOOR + 1
        assert statuses[-1] == 429
        # The right one would be a guess as good as any.
        assert (await health(run, authorization=f"Bearer {METRICS}")).status_code == 429
        # A request without a token still gets the summary.
        assert (await health(run)).status_code == 200


async def test_no_address_reaches_a_visitor() -> None:
    """With the engine down, in no message and on no page; the operator on that socket reads why."""
    settings: dict[str, Any] = {"operator_token": OPERATOR, "metrics_token": METRICS}
    async with running(
        engine="vllm", vllm_base_url=DOWN, model_name="/srv/inner/folder", **settings
    ) as run:
        async with httpx.AsyncClient(trust_env=False) as client:
            ready = await client.get(f"{run.base_url}/health/ready")
        assert ready.status_code == 503
        assert tells_nothing(ready.text)
        page = await open_page(run)
        told = [await page.next("ready"), await page.next("status")]
        assert all(one["engine_detail"].startswith("The model is not available") for one in told)
        assert tells_nothing(json.dumps(told))
        assert "/srv" not in json.dumps(told)
        await page.send(type="operator", token=OPERATOR)
        greeting = await page.next("ready")
        assert "127.0.0.1:9" in greeting["engine_detail"]
        assert "127.0.0.1:9" in (await page.next("status"))["engine_detail"]
        await page.close()
        # Another socket of the session has not brought the token.
        page = await open_page(run, page.token, page.session_id)
        assert tells_nothing(json.dumps([await page.next("ready"), await page.next("status")]))
        await page.close()


@pytest.mark.parametrize(
    ("peer", "here"),
    [
        *(("127.0.0.1", True), ("127.8.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True)),
        *(("192.168.1.7", False), ("10.0.0.1", False), ("169.254.1.1", False), ("fe80::1", False)),
        *(("198.51.100.1", False), ("0.0.0.0", False), ("", False)),
    ],
)
async def test_this_machine_is_its_loopback_alone(peer: str, here: bool) -> None:
    """A neighbour of the same network sees no more than anybody, whatever name it asks for."""
    scope = {"type": "http", "scheme": "http", "path": "/health", "query_string": b""}
    asked = {"headers": [(b"host", b"localhost:8000")], "client": (peer, 5000)}
    assert from_this_machine(Request({**scope, **asked})) is here

"""The operators' routes of all features: who gets in."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from server import auth
from tests.support.clients import bearer, http, take_token
from tests.support.fakes_app import assert_error
from tests.support.running import running

OPERATOR = "operator-token-of-this-test"


async def test_only_an_operator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither nobody, nor a visitor, nor another site's page."""
    # More wrong tokens than an address has
    monkeypatch.setattr(auth, "FLOOR", 100)
    settings = {"operator_token": OPERATOR, "rate_limit_per_minute": 0}
    async with running(**settings) as run, http(run) as client:
        routes = [
            (method, re.sub(r"{\w+}", "x", route.path))
            for router in run.program.added.routers
            for route in router.routes
            if isinstance(route, APIRoute) and route.path.startswith("/api/operator/")
            for method in route.methods or ()
        ]
        for feature in ("cameras", "devices", "drain", "mqtt", "programs", "speech", "webhooks"):
            assert ("GET", f"/api/operator/{feature}") in routes
        visitor = bearer((await take_token(run))["token"])
        foreign = bearer(OPERATOR) | {"Origin": "https://evil.example"}
        for method, path in routes:
            for headers in ({}, visitor):
                reply = await client.request(method, path, headers=headers)
                assert_error(reply, 401, "unauthorized", retryable=False)
            reply = await client.request(method, path, headers=foreign)
            assert_error(reply, 403, "forbidden", retryable=False)

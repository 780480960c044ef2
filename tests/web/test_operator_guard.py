"""The access to the operator's functions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from config import load
from server.auth import FLOOR
from server.core.errors import NotFound, RateLimited, Unauthorized
from server.core.metrics import Metrics
from server.web.request_guard import Access, RequestGuard, Services
from tests.support.clients import sample

pytestmark = pytest.mark.asyncio

TOKEN = "operator-token-of-this-test"


class Door:
    """A guard, and what it counted."""

    def __init__(self, token: str = TOKEN, per_minute: int = 60) -> None:
        self._metrics = Metrics("test")
        settings = load(None, operator_token=token, rate_limit_per_minute=per_minute)
        self.access = Access(settings)
        none: Any = None
        self._guard = RequestGuard(Services(self.access, none, none, none, self._metrics))

    async def try_(self, given: str | None, address: str = "192.0.2.1") -> None:
        scope = {"type": "http", "headers": [], "client": (address, 5000)}
        await self._guard.check_operator(HTTPConnection(scope), given)

    def counted(self, reason: str) -> float:
        return sample(self._metrics, "auth_failures_total", reason=reason)


async def test_the_token_opens_and_nothing_else_does() -> None:
    """A wrong one and none are refused, each with a sentence that repeats nothing, and counted."""
    door = Door()
    await door.try_(TOKEN)
    for given in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "canary\ud800"):
        with pytest.raises(Unauthorized, match="token is wrong") as refused:
            await door.try_(given)
        assert "canary" not in refused.value.message
    with pytest.raises(Unauthorized, match="operator token"):
        await door.try_(None)
    assert door.counted("operator") == 6


async def test_without_a_token_there_is_nothing_to_open(caplog: pytest.LogCaptureFixture) -> None:
    """Not with an empty one; said once in the log, without a setting to visitors, at no cost."""
    door = Door(token="", per_minute=3)
    assert not door.access.operator_token
    for given in ("", None, TOKEN) * 3:
        with pytest.raises(NotFound, match="OPERATOR_TOKEN is empty") as refused:
            await door.try_(given)
        assert "_" not in refused.value.visitor_message
    (line,) = caplog.records
    assert "OPERATOR_TOKEN is empty" in line.message


async def test_guesses_run_out() -> None:
    """A wrong token costs its address three requests; then even the right one is not looked at."""
    door = Door(per_minute=9)
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await door.try_("guess")
    with pytest.raises(RateLimited) as refused:
        await door.try_(TOKEN)
    assert refused.value.retry_after is not None
    assert refused.value.retry_after >= 1
    assert door.counted("rate") == 1
    await door.try_(TOKEN, "198.51.100.1")


async def test_guesses_run_out_without_a_limit_in_the_settings() -> None:
    """RATE_LIMIT_PER_MINUTE=0 is for visitors: a token is not to be guessed by trying."""
    door = Door(per_minute=0)
    for _ in range(50):
        await door.try_(TOKEN)
    refused = 0
    for number in range(60):
        with pytest.raises((Unauthorized, RateLimited)) as raised:
            await door.try_(f"guess {number}")
        refused += isinstance(raised.value, RateLimited)
    assert refused == 60 - FLOOR
    with pytest.raises(RateLimited):
        await door.try_(TOKEN)
    await door.try_(TOKEN, "198.51.100.1")


async def test_an_operator_uses_up_nothing() -> None:
    """However much the right token asks, its address's visitors find their allowance whole."""
    door = Door(per_minute=3)
    for _ in range(20):
        await door.try_(TOKEN)
    for _ in range(3):
        assert await door.access.limiter.count_anybody("192.0.2.1", time.monotonic()) is None
    assert await door.access.limiter.count_anybody("192.0.2.1", time.monotonic()) is not None
    assert door.counted("rate") == 0

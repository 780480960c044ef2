"""Every code and token is compared in a time that depends on neither text, at every door."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from server.features.pairing.pairing import PairingCodes
from tests.support.clients import http, open_page
from tests.support.running import running

CODE = "long-access-code-4711"
METRICS = "metrics-token-of-a-test-0123"
OPERATOR = "operator-token-of-a-test-0123456789"
KEY = "q7Vd0mZp3xKc9LwTfR2yBhN6sJgA1uEoXiC4"


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, object]]:
    """Record both sides of each comparison in constant time."""
    real, seen = hmac.compare_digest, list[tuple[object, object]]()

    def compare(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    return seen


async def test_every_door_compares_in_constant_time(compared: list[tuple[object, object]]) -> None:
    """The access code, the metrics token, and the operator's over HTTP and on a socket: right ones
    and wrong ones.
    """
    async with (
        running(
            access_code=CODE, jwt_secret_key=KEY, metrics_token=METRICS, operator_token=OPERATOR
        ) as run,
        http(run) as client,
    ):

        async def door(method: str, path: str, right: str, given: str, **more: object) -> int:
            compared.clear()
            reply = await client.request(method, path, **more)  # type: ignore[arg-type]
            pair = {digest(right), digest(given)}
            assert any({one, other} == pair for one, other in compared), path
            return reply.status_code

        def bearer(token: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {token}"}

        for given, status in ((CODE, 200), ("wrong", 401)):
            body = {"access_code": given}
            assert await door("POST", "/api/token", CODE, given, json=body) == status
        for given, status in ((METRICS, 200), ("wrong", 401)):
            headers = bearer(given)
            assert await door("GET", "/metrics", METRICS, given, headers=headers) == status
        for given, status in ((OPERATOR, 200), ("wrong", 401)):
            headers = bearer(given)
            assert await door("GET", "/api/engine", OPERATOR, given, headers=headers) == status
        issued = run.program.access.tokens.issue("s")
        page = await open_page(run, issued.token, issued.claims.session_id)
        await page.next("ready")
        compared.clear()
        await page.send(type="operator", token="wrong")
        await page.next("error")
        assert any({one, other} == {digest(OPERATOR), digest("wrong")} for one, other in compared)
        await page.close()


def test_pairing_codes_are_compared_in_constant_time(compared: list[tuple[object, object]]) -> None:
    """All that are remembered, whichever fits."""
    codes = PairingCodes()
    code = codes.issue(0.0)
    codes.redeem("wrong", 1.0)
    codes.redeem(code, 1.0)
    assert compared == [(digest(code), digest("wrong")), (digest(code), digest(code))]

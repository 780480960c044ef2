"""The one body that every error has."""

from __future__ import annotations

import pytest

from tests.support.fakes_app import CANARY, assert_error, client_of, counted, make_app


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "retryable"),
    [
        ("GET", "/raise/gone", 404, "not_found", False),
        ("GET", "/raise/token", 401, "unauthorized", False),
        ("GET", "/raise/slow", 429, "rate_limited", True),
        ("GET", "/raise/busy", 503, "busy", True),
        ("GET", "/raise/refused", 503, "engine_refused", False),
        ("GET", "/raise/bug", 500, "internal", False),
        ("GET", "/raise/group", 500, "internal", False),
        ("GET", f"/{CANARY}", 404, "not_found", False),
        ("DELETE", "/fine", 405, "method_not_allowed", False),
        (CANARY.upper(), "/fine", 405, "method_not_allowed", False),
    ],
)
async def test_every_error_has_the_one_body(
    method: str, path: str, status: int, code: str, retryable: bool
) -> None:
    """Ours, the framework's and bugs look alike, are counted once, and repeat nothing."""
    app = make_app()
    async with client_of(app) as client:
        response = await client.request(method, path)
    assert_error(response, status, code, retryable=retryable)
    assert counted(app, code) == 1


async def test_statuses_have_their_headers() -> None:
    """Retry-After is whole seconds and never too early; 401 names the scheme, 405 the methods."""
    async with client_of(make_app()) as client:
        assert (await client.get("/raise/slow")).headers["retry-after"] == "2"
        assert (await client.get("/raise/busy")).headers["retry-after"] == "1"
        assert "retry-after" not in (await client.get("/raise/refused")).headers
        assert (await client.get("/raise/token")).headers["www-authenticate"] == "Bearer"
        assert (await client.delete("/fine")).headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{" + CANARY.encode(), "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"", '"body" in the body: Field required'),
        (b"[]", "Input should be a valid dictionary"),
        (b"{}", '"sdp" in the body: Field required'),
        (b'{"sdp":7}', '"sdp" in the body: Input should be a valid string'),
        (b'{"sdp":"canary-7f3a"}', "at most 5 characters"),
        (b'{"sdp":"x","type":"canary-7f3a"}', "\"type\" in the body: Input should be 'offer'"),
        (b'{"sdp":"x","canary-7f3a":1}', "fields that are expected"),
        (b'{"sdp":"x","canary":1}', "fields that are expected"),
        (b'{"sdp":"no"}', "fields that are expected"),
        (b'{"sdp":"x","names":{"canary-7f3a":"x"}}', "fields that are expected"),
        (b'{"sdp":' + b"[" * 60_000, ""),
    ],
)
async def test_a_malformed_body_is_400_and_not_repeated(body: bytes, says: str) -> None:
    """The error names our fields and repeats nothing of the body."""
    async with client_of(make_app()) as client:
        response = await client.post(
            "/api/json", content=body, headers={"content-type": "application/json"}
        )
    assert_error(response, 400, "bad_request", retryable=False)
    assert says in response.json()["detail"]
    assert "canary" not in response.text

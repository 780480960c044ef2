"""Access that can be taken back: by another code, by time, and by the operator."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.auth import TokenIssuer, derive_signing_key
from server.core.redact import hash_session_id
from tests.support.clients import (
    bearer,
    http,
    metric,
    open_page,
    page_of,
    soon,
    take_token,
    with_client,
)
from tests.support.fakes_app import assert_error
from tests.support.running import Running, running
from tests.web.conftest import SECRET
from tests.web.test_routes import make_offer

pytestmark = pytest.mark.asyncio

CODE = "open-sesame-77"
OPERATOR = "operator-token-of-this-test"
OFFER, SESSIONS = "/api/webrtc/offer", "/api/operator/sessions"


async def test_another_code_ends_every_token() -> None:
    """After the restart a token of another code opens nothing; one of the same code goes on."""
    async with running(access_code=CODE, jwt_secret_key=SECRET) as run:
        token = (await take_token(run, access_code=CODE))["token"]
    for code, status in ((CODE, 200), ("another-code-42", 401)):
        async with with_client(access_code=code, jwt_secret_key=SECRET) as (_, client):
            renewed = await client.post("/api/token", headers=bearer(token))
            assert renewed.status_code == status


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Running]:
    async with running(
        access_code=CODE,
        jwt_secret_key=SECRET,
        operator_token=OPERATOR,
        rate_limit_per_minute=0,
        turn_urls="turn:turn.example.org:3478?transport=udp",
        turn_secret="turn-secret",
    ) as run:
        yield run


async def test_a_code_is_needed_again_after_the_maximum_age() -> None:
    """Renewed or not: access ends TOKEN_MAX_AGE after the code was brought, not a second later."""
    async with with_client(access_code=CODE, jwt_secret_key=SECRET, token_max_age=100) as (
        run,
        client,
    ):
        tokens = run.program.access.tokens
        now = int(time.time())
        granted = (await client.post("/api/token", json={"access_code": CODE})).json()
        assert granted["expires_in"] == 100
        old = tokens.issue("abc", auth_time=now - 90)
        renewed = await client.post("/api/token", headers=bearer(old.token))
        assert renewed.status_code == 200
        assert renewed.json()["expires_in"] <= 10
        assert tokens.verify(renewed.json()["token"]).auth_time == now - 90
        # The same, signed where more was allowed.
        code = run.program.settings.access_code.get_secret_value()
        longer = TokenIssuer(derive_signing_key(SECRET, "session tokens", code), 3600, 1000)
        refused = await client.post(
            "/api/token", headers=bearer(longer.issue("abc", auth_time=now - 101).token)
        )
        assert_error(refused, 401, "unauthorized", retryable=False)
        assert "entered too long ago" in refused.json()["detail"]
        assert metric(run, "auth_failures_total", reason="too_old") == 1


async def test_the_operator_ends_a_session(guarded: Running) -> None:
    """Its socket closes with 4410, its camera goes, its token renews or opens nothing, no relay."""
    run = guarded
    async with http(run) as client:
        granted = await take_token(run, access_code=CODE)
        token, session_id = granted["token"], granted["session_id"]
        page = await open_page(run, token, session_id)
        await page.next("ready")
        offer = await make_offer("video")
        body = {"sdp": offer, "type": "offer"}
        assert (await client.post(OFFER, json=body, headers=bearer(token))).status_code == 200
        assert len(run.program.webrtc) == 1
        listed = (await client.get(SESSIONS, headers=bearer(OPERATOR))).json()
        [seen] = listed["sessions"]
        assert seen["name"] == hash_session_id(session_id)
        assert session_id not in str(listed)
        assert (seen["socket"], seen["camera"]) == (True, "starting")
        assert 0 <= seen["age_seconds"] < 60
        assert listed["shared"] is False
        ended = await client.delete(f"{SESSIONS}/{seen['name']}", headers=bearer(OPERATOR))
        assert (ended.status_code, ended.json()) == (200, {"ended": 1})
        assert await page.closed() == (4410, "ended by the operator")
        await soon(lambda: len(run.program.webrtc) == 0)
        refused = await client.post("/api/token", headers=bearer(token))
        assert_error(refused, 401, "unauthorized", retryable=False)
        assert "ice_servers" not in refused.json()
        assert metric(run, "auth_failures_total", reason="ended") == 1
        assert (await client.post(OFFER, json=body, headers=bearer(token))).status_code == 404
        whip = bearer(token) | {"Content-Type": "application/sdp"}
        published = await client.post("/api/whip", content=offer, headers=whip)
        assert_error(published, 404, "not_found", retryable=False)
        assert "link" not in published.headers
        assert (await (await open_page(run, token, session_id)).closed())[0] == 4404
        again = await client.delete(f"{SESSIONS}/{seen['name']}", headers=bearer(OPERATOR))
        assert_error(again, 404, "not_found", retryable=False)
        assert (await client.get(SESSIONS, headers=bearer(OPERATOR))).json()["sessions"] == []


async def test_the_operator_ends_all_sessions(guarded: Running) -> None:
    """Those here and every token given out; who then brings the code gets in, at once."""
    run = guarded
    async with http(run) as client:
        first, second, idle = [await take_token(run, access_code=CODE) for _ in range(3)]
        pages = [await open_page(run, g["token"], g["session_id"]) for g in (first, second)]
        for page in pages:
            await page.next("ready")
        ended = await client.delete(SESSIONS, headers=bearer(OPERATOR))
        assert ended.json() == {"ended": 2}
        assert [(await page.closed())[0] for page in pages] == [4410, 4410]
        for granted in (first, second, idle):
            renewed = await client.post("/api/token", headers=bearer(granted["token"]))
            assert renewed.status_code == 401
            page = await open_page(run, granted["token"], granted["session_id"])
            assert (await page.closed())[0] == 4404
        late = await take_token(run, access_code=CODE)
        async with page_of(run, late["token"], late["session_id"]):
            assert (
                await client.post("/api/token", headers=bearer(late["token"]))
            ).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", ""), ("DELETE", ""), ("DELETE", "/0123456789ab")]
)
async def test_only_the_operator_sees_and_ends(guarded: Running, method: str, path: str) -> None:
    """Nobody without OPERATOR_TOKEN, no visitor, no other site's page; a wrong name is told so."""
    visitor = (await take_token(guarded, access_code=CODE))["token"]
    async with http(guarded) as client:
        for headers in ({}, bearer(visitor)):
            reply = await client.request(method, SESSIONS + path, headers=headers)
            assert_error(reply, 401, "unauthorized", retryable=False)
        foreign = bearer(OPERATOR) | {"Origin": "https://evil.example"}
        assert (await client.request(method, SESSIONS + path, headers=foreign)).status_code == 403
        bad = await client.delete(f"{SESSIONS}/abc", headers=bearer(OPERATOR))
        assert_error(bad, 400, "bad_request", retryable=False)


async def test_the_operator_sees_and_ends_visitors_programs(guarded: Running) -> None:
    """Without their tokens and what they asked; nobody else does."""
    path = "/api/operator/programs"
    async with http(guarded) as client:
        person = await take_token(guarded, access_code=CODE)
        async with page_of(guarded, person["token"], person["session_id"]):
            wish = {"name": "Kitchen script", "scopes": ["look"], "seconds": 600}
            made = await client.post("/api/grants", json=wish, headers=bearer(person["token"]))
            assert made.status_code == 201
            for headers in ({}, bearer(person["token"]), bearer(made.json()["token"])):
                assert (await client.get(path, headers=headers)).status_code == 401
            listed = await client.get(path, headers=bearer(OPERATOR))
            (one,) = listed.json()["programs"]
            assert set(one) == {
                *("session", "id", "name", "scopes", "expires_at"),
                *("last_used", "looks", "listening"),
            }
            assert (one["name"], one["scopes"], one["looks"]) == ("Kitchen script", ["look"], 0)
            assert one["session"] == hash_session_id(person["session_id"])
            for secret in (made.json()["token"], person["token"], person["session_id"]):
                assert secret not in listed.text
            end = f"{path}/{one['session']}/{one['id']}"
            assert (await client.delete(end)).status_code == 401
            for expected in (200, 404):
                reply = await client.delete(end, headers=bearer(OPERATOR))
                assert reply.status_code == expected
            assert (await client.get(path, headers=bearer(OPERATOR))).json() == {"programs": []}

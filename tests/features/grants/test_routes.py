"""Giving programs access over HTTP, and who gets in with which token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio

from server.auth import new_session_id
from server.features.grants.grants import new_token
from tests.support.clients import (
    Message,
    Page,
    bearer,
    http,
    metric,
    open_page,
    page_of,
    take_token,
)
from tests.support.fakes_app import assert_error
from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALL = ["look", "watch", "events"]


def serving_programs(fake: FakeOpenAI, **settings: Any) -> AbstractAsyncContextManager[Running]:
    """A server with this model server, whose programs may ask often."""
    usual = {"engine": "vllm", "vllm_base_url": fake.base_url, "program_looks_per_minute": 600}
    return running(**usual | {"rate_limit_per_minute": 0} | settings)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    async with running(rate_limit_per_minute=0) as run:
        yield run


@pytest_asyncio.fixture(loop_scope="module")
async def client(run: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with http(run) as client:
        yield client


@asynccontextmanager
async def person_of(run: Running) -> AsyncIterator[tuple[Page, Message]]:
    """An open page, and its session's token."""
    issued = await take_token(run)
    async with page_of(run, issued["token"], issued["session_id"]) as page:
        yield page, issued


@pytest_asyncio.fixture(loop_scope="module")
async def person(run: Running) -> AsyncIterator[tuple[Page, Message]]:
    async with person_of(run) as one:
        yield one


async def give(client: httpx.AsyncClient, token: str, **body: Any) -> Message:
    reply = await client.post(
        "/api/grants",
        json={"name": "Helper", "scopes": ALL, "seconds": 600} | body,
        headers=bearer(token),
    )
    assert reply.status_code == 201, reply.text
    made: Message = reply.json()
    return made


async def test_access_is_given_listed_used_and_ended(
    client: httpx.AsyncClient, person: tuple[Page, Message]
) -> None:
    page, issued = person
    own = bearer(issued["token"])
    made = await give(client, issued["token"])
    assert made["mcp"] == f"/at/{issued['session_id']}/mcp"
    message = await page.next("programs")
    assert [(p["name"], p["scopes"]) for p in message["programs"]] == [("Helper", sorted(ALL))]
    listed = (await client.get("/api/grants", headers=own)).json()
    assert [p["id"] for p in listed["programs"]] == [made["id"]]
    assert made["token"] not in str(listed) + str(message)

    reply = await client.get("/api/program", headers=bearer(made["token"]))
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json()["name"] == "Helper"

    assert (await client.delete(f"/api/grants/{made['id']}", headers=own)).json() == {"ended": 1}
    assert (await page.next("programs"))["programs"] == []
    reply = await client.get("/api/program", headers=bearer(made["token"]))
    assert_error(reply, 401, "unauthorized", retryable=False)
    reply = await client.delete(f"/api/grants/{made['id']}", headers=own)
    assert_error(reply, 404, "not_found", retryable=False)


async def test_all_are_ended_at_once(
    client: httpx.AsyncClient, person: tuple[Page, Message]
) -> None:
    _, issued = person
    tokens = [(await give(client, issued["token"]))["token"] for _ in range(3)]
    reply = await client.delete("/api/grants", headers=bearer(issued["token"]))
    assert reply.json() == {"ended": 3}
    for token in tokens:
        assert (await client.get("/api/program", headers=bearer(token))).status_code == 401


async def test_a_programs_token_opens_nothing_else(
    run: Running, client: httpx.AsyncClient, person: tuple[Page, Message]
) -> None:
    """No grants, no session, no pictures, no socket; and a session's token is no program's."""
    _, issued = person
    own = bearer((await give(client, issued["token"]))["token"])
    for method, path in (
        ("GET", "/api/grants"),
        ("POST", "/api/grants"),
        ("DELETE", "/api/grants"),
        ("POST", "/api/token"),
        ("GET", "/api/pictures/x"),
        ("DELETE", "/api/webrtc/offer"),
        ("GET", "/api/operator/sessions"),
    ):
        body = {"name": "x", "scopes": ALL} if method == "POST" else None
        reply = await client.request(method, path, headers=own, json=body)
        assert reply.status_code in (401, 404), (method, path, reply.text)
    page = await open_page(run, own["Authorization"].removeprefix("Bearer "), issued["session_id"])
    assert (await page.closed())[0] == 4401
    reply = await client.get("/api/program", headers=bearer(issued["token"]))
    assert_error(reply, 401, "unauthorized", retryable=False)


async def test_nobody_gets_in_without_a_grant(
    run: Running, client: httpx.AsyncClient, person: tuple[Page, Message]
) -> None:
    _, issued = person
    made = await give(client, issued["token"])
    session, _, secret = made["token"].rpartition(".")
    before = metric(run, "auth_failures_total", reason="program")
    wrong = (
        *("", "x", secret, f"{session}.{secret[:-1]}", f"{session}.{secret[:-1]}_"),
        new_token(issued["session_id"])[0],
        f"qcam_{new_session_id()}.{secret}",
        "x" * 7000,
    )
    for token in wrong:
        headers = bearer(token) if token else {}
        reply = await client.get("/api/program", headers=headers)
        assert_error(reply, 401, "unauthorized", retryable=False)
        assert secret not in reply.text
    assert metric(run, "auth_failures_total", reason="program") == before + len(wrong)


async def test_other_pages_get_none(
    client: httpx.AsyncClient, person: tuple[Page, Message]
) -> None:
    _, issued = person
    made = await give(client, issued["token"])
    foreign = {"Origin": "https://elsewhere.example"}
    for method, path, token in (
        ("POST", "/api/grants", issued["token"]),
        ("DELETE", "/api/grants", issued["token"]),
        ("GET", "/api/program", made["token"]),
    ):
        reply = await client.request(method, path, headers=bearer(token) | foreign)
        assert reply.status_code == 403, path


async def test_what_makes_no_grant(client: httpx.AsyncClient, person: tuple[Page, Message]) -> None:
    _, issued = person
    own = bearer(issued["token"])
    await client.delete("/api/grants", headers=own)
    changes: tuple[dict[str, Any], ...] = (
        *({"name": name} for name in ("", "x" * 41)),
        *({"scopes": scopes} for scopes in ([], ["everything"], ["look"] * 9)),
        *({"seconds": seconds} for seconds in (59, 86_401, "soon")),
    )
    for change in changes:
        body = {"name": "Helper", "scopes": ALL, "seconds": 600} | change
        reply = await client.post("/api/grants", json=body, headers=own)
        assert reply.status_code in (400, 422), change
    for _ in range(8):
        await give(client, issued["token"])
    reply = await client.post("/api/grants", json={"name": "x", "scopes": ALL}, headers=own)
    assert_error(reply, 409, "conflict", retryable=False)
    await client.delete("/api/grants", headers=own)


async def test_the_end_of_the_session_is_the_end_of_access(
    run: Running, client: httpx.AsyncClient
) -> None:
    async with person_of(run) as (_, issued):
        made = await give(client, issued["token"])
        await run.program.sessions.end(issued["session_id"], "ended by this test")
        reply = await client.get("/api/program", headers=bearer(made["token"]))
        assert_error(reply, 401, "unauthorized", retryable=False)
        assert reply.headers["www-authenticate"] == (
            'Bearer error="invalid_token",'
            ' error_description="This access has ended. Ask the person for a new one."'
        )


async def test_wrong_tokens_are_limited() -> None:
    """An address that tries tokens waits; a program with a right one does not."""
    async with (
        running(rate_limit_per_minute=12) as run,
        http(run) as client,
        person_of(run) as (_, issued),
    ):
        made = await give(client, issued["token"])
        wrong = bearer(new_token(issued["session_id"])[0])
        codes = [(await client.get("/api/program", headers=wrong)).status_code for _ in range(20)]
        assert codes[0] == 401
        assert codes[-1] == 429
        reply = await client.get("/api/program", headers=bearer(made["token"]))
        assert reply.status_code == 200
        # The people behind the same address have a budget of their own.
        assert (await client.post("/api/token", json={})).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/register"),
        ("GET", "/.well-known/oauth-protected-resource"),
        ("GET", "/.well-known/oauth-protected-resource/at/x/mcp"),
        ("GET", "/.well-known/oauth-authorization-server"),
        ("GET", "/at/x/mcp/.well-known/openid-configuration"),
    ],
)
async def test_sign_in_for_programs_is_refused_in_its_form(
    method: str, path: str, client: httpx.AsyncClient
) -> None:
    """Clients that look for OAuth after a 401 show this sentence."""
    reply = await client.request(method, path, json={} if method == "POST" else None)
    assert reply.status_code == 404
    assert reply.json() == {
        "error": "invalid_request",
        "error_description": "This server does not support OAuth. Ask the person with the camera for an access token.",
    }


async def test_where_the_operator_allows_none() -> None:
    async with (
        running(program_looks_per_minute=0) as run,
        http(run) as client,
        person_of(run) as (_, issued),
    ):
        own = bearer(issued["token"])
        assert (await client.get("/api/grants", headers=own)).json()["most"] == 0
        body = {"name": "Helper", "scopes": ALL}
        reply = await client.post("/api/grants", json=body, headers=own)
        assert_error(reply, 403, "forbidden", retryable=False)


async def test_another_process_has_the_session() -> None:
    """A program is sent there once; without that process it hears so."""
    token = new_token(f"there-{new_session_id()}")[0]
    async with running(process_name="here") as run, http(run) as client:
        reply = await client.get("/api/program", headers=bearer(token))
        assert reply.status_code == 307
        assert reply.headers["location"].startswith("/api/program?session=there-")
        reply = await client.get(reply.headers["location"], headers=bearer(token))
        assert_error(reply, 404, "not_found", retryable=False)

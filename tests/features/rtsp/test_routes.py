"""Operators' routes for the house's cameras: who gets in, and what is refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from server.features.grants.programs import programs_of
from tests.features.rtsp.scripted import CAMERAS, OPERATOR, house
from tests.support.clients import bearer, http, take_token
from tests.support.fakes_app import assert_error
from tests.support.running import running

ROUTES = [
    ("GET", ""),
    ("GET", "/door/picture"),
    ("POST", "/door/ask"),
    ("POST", "/door/retry"),
    ("POST", "/door/token"),
    ("POST", "/door/grants"),
    ("GET", "/door/grants"),
    ("DELETE", "/door/grants"),
    ("DELETE", "/door/grants/x"),
]
DOOR = {"door": 'url = "rtsp://127.0.0.1:9/x"'}
BOTH = DOOR | {"yard": 'url = "rtsp://127.0.0.1:9/y"'}
NO_RATE = {"rate_limit_per_minute": 0}
GRANT: dict[str, Any] = {"name": "Kitchen script", "scopes": ["look"], "seconds": 600}


async def test_only_an_operator(tmp_path: Path) -> None:
    """Neither nobody nor a visitor sees, asks or opens a camera of the house."""
    async with house(tmp_path, NO_RATE, **DOOR) as (run, _), http(run) as client:
        visitor = (await take_token(run))["token"]
        for method, path in ROUTES:
            for headers in ({}, bearer(visitor)):
                reply = await client.request(
                    method, CAMERAS + path, headers=headers, json={"content": "x"}
                )
                assert reply.status_code == 401, path


async def test_what_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, **DOOR) as (_, client):
        for method, path in ROUTES[1:]:
            reply = await client.request(
                method, CAMERAS + path.replace("door", "cellar"), json={"content": "x"} | GRANT
            )
            assert_error(reply, 404, "not_found", retryable=False)
        for content in ("", "  ", 1, None, "x" * 4001):
            reply = await client.post(f"{CAMERAS}/door/ask", json={"content": content})
            assert_error(reply, 400, "bad_request", retryable=False)
        for body in (GRANT | {"scopes": []}, GRANT | {"seconds": 1}, GRANT | {"name": ""}):
            reply = await client.post(f"{CAMERAS}/door/grants", json=body)
            assert_error(reply, 400, "bad_request", retryable=False)
        reply = await client.delete(f"{CAMERAS}/door/grants/x")
        assert_error(reply, 404, "not_found", retryable=False)
        reply = await client.get(f"{CAMERAS}/door/picture")
        assert_error(reply, 503, "no_camera", retryable=True)


async def test_without_cameras() -> None:
    async with running(operator_token=OPERATOR) as run, http(run) as client:
        reply = await client.get(CAMERAS, headers=bearer(OPERATOR))
        assert reply.json() == {"cameras": []}


async def test_a_program_gets_one_camera_until_it_is_ended(tmp_path: Path) -> None:
    """It opens nothing else: no other camera, and no route of operators."""
    async with house(tmp_path, **BOTH) as (run, client):
        reply = await client.post(f"{CAMERAS}/door/grants", json=GRANT)
        assert reply.status_code == 201, reply.text
        made = reply.json()
        token = made.pop("token")
        program = bearer(token)
        assert (await client.get(f"{made['openai']}/models", headers=program)).status_code == 200
        assert (await client.get(CAMERAS, headers=program)).status_code == 401

        seen = {
            one["name"]: one["programs"] for one in (await client.get(CAMERAS)).json()["cameras"]
        }
        assert seen["yard"] == []
        (shown,) = seen["door"]
        assert (shown["id"], shown["name"], shown["scopes"]) == (
            made["id"],
            GRANT["name"],
            ["look"],
        )
        assert shown["last_used"] is not None
        assert 0 < shown["expires_at"] / 1000 - time.time() <= GRANT["seconds"]
        assert (await client.get(f"{CAMERAS}/door/grants")).json()["programs"] == [shown]
        assert token not in (await client.get(CAMERAS)).text

        assert (await client.delete(f"{CAMERAS}/yard/grants/{made['id']}")).status_code == 404
        reply = await client.delete(f"{CAMERAS}/door/grants/{made['id']}")
        assert reply.json() == {"ended": 1}
        assert (await client.get(f"{made['openai']}/models", headers=program)).status_code == 401
        more = [(await client.post(f"{CAMERAS}/door/grants", json=GRANT)).json() for _ in range(2)]
        assert (await client.delete(f"{CAMERAS}/door/grants")).json() == {"ended": 2}
        for one in more:
            program = bearer(one["token"])
            assert (await client.get("/v1/models", headers=program)).status_code == 401
        assert (await client.get(f"{CAMERAS}/door/grants")).json()["programs"] == []

        last = (await client.post(f"{CAMERAS}/door/grants", json=GRANT)).json()
        session = run.program.sessions.get(last["openai"].split("/")[2])
        assert session is not None
        programs_of(session)._grants.all()[0].until = time.monotonic()
        program = bearer(last["token"])
        assert (await client.get("/v1/models", headers=program)).status_code == 401
        assert (await client.get(f"{CAMERAS}/door/grants")).json()["programs"] == []


async def test_a_program_gives_itself_nothing(tmp_path: Path) -> None:
    """Within its scopes alone; and its token opens no other camera, and gives or ends no access."""
    operator = bearer(OPERATOR)
    async with house(tmp_path, NO_RATE, **BOTH) as (run, _), http(run) as client:
        door, yard = [
            (
                await client.post(
                    f"{CAMERAS}/{name}/grants",
                    json=GRANT | {"scopes": ["events"]},
                    headers=operator,
                )
            ).json()
            for name in ("door", "yard")
        ]
        program = bearer(door["token"])
        own = await client.get("/api/program", headers=program)
        assert own.json()["scopes"] == ["events"]
        reply = await client.get(f"{door['openai']}/models", headers=program)
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "forbidden")
        for address in (f"{yard['openai']}/models", yard["mcp"]):
            assert (await client.get(address, headers=program)).status_code == 401
        for method, route in ROUTES:
            reply = await client.request(method, CAMERAS + route, headers=program, json=GRANT)
            assert reply.status_code == 401, route
        reply = await client.post("/api/grants", headers=program, json=GRANT)
        assert reply.status_code == 401
        (left,) = (await client.get(f"{CAMERAS}/door/grants", headers=operator)).json()["programs"]
        assert left["id"] == door["id"]

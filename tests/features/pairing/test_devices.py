"""Paired devices: what one keeps, which are known, and how they are forgotten."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.auth import Claims
from server.features.pairing import pairing as devices
from server.features.pairing.pairing import COOKIE, DEVICE_SECONDS, Devices
from server.web import websocket
from server.web.request_guard import AuthMethod
from tests.support.clients import bearer, http, metric, open_page, take_token
from tests.support.fakes_app import assert_error
from tests.support.fakes_server import ServerProcess
from tests.support.running import Running, running

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

KEY = "k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i"
SECRET = "wQ7mZr4TfL1xUe0aKc9sVd3gHb6nJy8P"
CODE = "open-sesame-77"
OPERATOR = "operator-token-of-this-test"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Safari/604.1"


async def test_a_device_is_known_by_what_it_keeps() -> None:
    """For thirty days, also to a server of the same key that never saw it; to none of another key."""
    now = time.time()
    known = Devices(KEY)
    token, device = known.pair(IPHONE, now)
    assert known.verify(token, IPHONE, now) == device
    assert Devices(KEY).verify(token, IPHONE, now) == device
    assert Devices(KEY[::-1]).verify(token, IPHONE, now) is None
    assert known.verify(token, IPHONE, now + DEVICE_SECONDS - 2) == device
    assert known.verify(token, IPHONE, now + DEVICE_SECONDS + 1) is None
    [listed] = known.list_seen()
    assert (listed.device, listed.kind) == (device, "iPhone")
    assert device.name not in token
    assert known.pair(IPHONE, now)[1].name != device.name


async def test_forgotten_devices_are_not_known() -> None:
    """One by name, or all that there are; those paired afterwards, in the same second, are."""
    now = time.time()
    known = Devices(KEY)
    tokens = [known.pair(IPHONE, now) for _ in range(3)]
    names = [device.name for _, device in tokens]
    assert known.forget(names[0], now)
    assert not known.forget(names[0], now)
    assert known.verify(tokens[0][0], IPHONE, now) is None
    assert known.verify(tokens[1][0], IPHONE, now) is not None
    assert known.refuses(Claims("s", int(now), names[0]))
    assert not known.refuses(Claims("s", int(now)))
    assert known.forget_all(int(now), now) == 2
    assert all(known.verify(token, IPHONE, now) is None for token, _ in tokens)
    token, device = known.pair(IPHONE, now)
    assert known.verify(token, IPHONE, now) == device
    assert known.forget_all(int(now), now) == 0
    assert [one.device for one in known.list_seen()] == [device]


async def test_the_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one unheard of for longest is not listed any more, and stays paired."""
    monkeypatch.setattr(devices, "MAX_SEEN_DEVICES", 2)
    now = time.time()
    known = Devices(KEY)
    first, second = [known.pair(IPHONE, now)[0] for _ in range(2)]
    known.verify(first, IPHONE, now)
    known.pair(IPHONE, now)
    assert len(known.list_seen()) == 2
    assert known.verify(second, IPHONE, now) is not None


# Over HTTP


def serving() -> AbstractAsyncContextManager[Running]:
    return running(
        access_code=CODE, jwt_secret_key=SECRET, operator_token=OPERATOR, rate_limit_per_minute=0
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    async with serving() as run:
        yield run


@pytest_asyncio.fixture(loop_scope="module")
async def fresh() -> AsyncIterator[Running]:
    """A server that no device has been paired with."""
    async with serving() as run:
        yield run


async def paired(run: Running, client: httpx.AsyncClient) -> str:
    """Pair the client; its cookie. httpx keeps it for the path that it is for."""
    code = run.program.added.provided[AuthMethod].codes.issue(time.monotonic())
    reply = await client.post("/api/token", json={"pairing_code": code}, headers=own(run))
    assert reply.status_code == 200
    assert reply.json()["paired"] is True
    return str(client.cookies[COOKIE])


def own(run: Running) -> dict[str, str]:
    """As the page's own script asks."""
    return {"Origin": run.base_url, "Sec-Fetch-Site": "same-origin"}


async def test_a_pairing_code_stands_instead_of_the_access_code(
    run: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """It opens a session once; used, over, replaced or made up it is refused by name, and never logged."""
    caplog.set_level("DEBUG")
    async with http(run) as client:
        codes = run.program.added.provided[AuthMethod].codes

        async def bring(code: object, **more: object) -> httpx.Response:
            return await client.post("/api/token", json={"pairing_code": code, **more})

        before = metric(run, "auth_failures_total", reason="bad_code")
        code = codes.issue(time.monotonic())
        good = await bring(code)
        assert good.status_code == 200
        verified = run.program.access.tokens.verify(good.json()["token"])
        assert verified.session_id == good.json()["session_id"]
        old = codes.issue(time.monotonic() - 300)
        for stale, words in (
            (code, "used already"),
            (old, "has expired"),
            ("made-up", "from another server"),
        ):
            refused = await bring(stale)
            assert_error(refused, 401, "unauthorized", retryable=False)
            assert words in refused.json()["detail"]
            assert "Press Enter" in refused.json()["detail"]
        # It goes before an access code, right or wrong.
        assert (await bring("made-up", access_code=CODE)).status_code == 401
        assert (await bring(None, access_code=CODE)).status_code == 200
        after = metric(run, "auth_failures_total", reason="bad_code")
        assert after - before == 4
        assert (await bring("x" * 65)).status_code == 400
        assert not [r for r in caplog.records if code in repr(vars(r)) or old in repr(vars(r))]


async def test_pairing_leaves_a_cookie(run: Running) -> None:
    """Of thirty days, for one route, unread by scripts, sent by no other site; access codes leave none."""
    async with http(run) as client:
        code = run.program.added.provided[AuthMethod].codes.issue(time.monotonic())
        reply = await client.post("/api/token", json={"pairing_code": code})
        cookie = reply.headers["set-cookie"]
        parts = {part.strip().lower() for part in cookie.split(";")[1:]}
        assert parts == {"httponly", "max-age=2592000", "path=/api/token", "samesite=strict"}
        assert cookie.split("=", 1)[1].split(";")[0] not in reply.text
        typed = await client.post("/api/token", json={"access_code": CODE})
        assert "set-cookie" not in typed.headers
        assert "paired" not in typed.json()


async def test_the_cookie_is_secure_where_the_page_is() -> None:
    """Behind a proxy of ours that ends TLS, too; nobody else's word on it counts."""
    for proxies, secure in (("127.0.0.1", True), ("", False)):
        async with (
            running(access_code=CODE, jwt_secret_key=SECRET, trusted_proxies=proxies) as run,
            http(run) as client,
        ):
            code = run.program.added.provided[AuthMethod].codes.issue(time.monotonic())
            reply = await client.post(
                "/api/token", json={"pairing_code": code}, headers={"X-Forwarded-Proto": "https"}
            )
            cookie = reply.headers["set-cookie"].lower()
            assert ("secure" in [part.strip() for part in cookie.split(";")]) is secure


async def test_a_paired_device_gets_in_again(run: Running) -> None:
    """Without a code, to a session of its own; a renewed token stays the device's; a wrong code is refused."""
    async with http(run) as client:
        await paired(run, client)
        first, second = [
            (await client.post("/api/token", json={}, headers=own(run))).json() for _ in range(2)
        ]
        assert first["session_id"] != second["session_id"]
        renewed = (await client.post("/api/token", headers=bearer(first["token"]))).json()
        verify = run.program.access.tokens.verify
        assert verify(renewed["token"]).device == verify(first["token"]).device != ""
        assert first["paired"] is renewed["paired"] is True
        wrong = await client.post("/api/token", json={"access_code": "x"}, headers=own(run))
        assert wrong.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "OWN", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "OWN", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "OWN", "Sec-Fetch-Site": "none"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, 403),
        ({"Origin": "null"}, 403),
        # An older browser
        ({"Origin": "OWN"}, 200),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_no_other_site_uses_the_cookie(
    run: Running, method: str, headers: dict[str, str], status: int
) -> None:
    """It counts from the server's own page alone, to get in and to be forgotten."""
    headers = {k: run.base_url if v == "OWN" else v for k, v in headers.items()}
    async with http(run) as client:
        await paired(run, client)
        path = "/api/token" if method == "POST" else "/api/token/device"
        reply = await client.request(method, path, headers=headers)
        assert reply.status_code == status
        if status == 403:
            assert (await client.post("/api/token", json={}, headers=own(run))).status_code == 200


async def test_no_other_route_takes_it(run: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "AUTH_SECONDS", 0.5)
    async with http(run) as client:
        cookie = await paired(run, client)
        given = own(run) | {"Cookie": f"{COOKIE}={cookie}"}
        for method, path in (
            *(("POST", "/api/webrtc/offer"), ("PATCH", "/api/webrtc/offer")),
            *(("DELETE", "/api/webrtc/offer"), ("POST", "/api/whip"), ("GET", "/api/engine")),
            *(("GET", "/api/operator/devices"), ("DELETE", "/api/operator/sessions")),
        ):
            body = {"sdp": "v=0", "type": "offer", "candidates": []}
            reply = await client.request(method, path, json=body, headers=given)
            assert reply.status_code == 401, path
            reply = await client.request(method, path, json=body, headers=own(run) | bearer(cookie))
            assert reply.status_code == 401, path
        page = await open_page(
            run, session_id="x" * 22, how="none", headers={"Cookie": f"{COOKIE}={cookie}"}
        )
        assert (await page.closed(8))[0] == 4401
        renewed = await client.post("/api/token", headers=own(run) | bearer(cookie))
        assert renewed.status_code == 401


async def test_the_operator_lists_and_forgets_devices(fresh: Running) -> None:
    """One: its session ends with 4410, its tokens and its cookie are of no use, and its page hears why;
    others go on.
    """
    right = bearer(OPERATOR)
    async with http(fresh) as client, http(fresh) as other:
        await paired(fresh, client)
        await paired(fresh, other)
        granted = (await client.post("/api/token", json={}, headers=own(fresh))).json()
        idle = (await client.post("/api/token", json={}, headers=own(fresh))).json()
        page = await open_page(fresh, granted["token"], granted["session_id"])
        await page.next("ready")
        listed = (await client.get("/api/operator/devices", headers=right)).json()["devices"]
        assert len(listed) == 2
        name = listed[0]["name"]
        assert re.fullmatch(r"[0-9a-f]{12}", name)
        assert listed[0].keys() == {"name", "kind", "paired_seconds", "seen_seconds"}
        [seen] = (await client.get("/api/operator/sessions", headers=right)).json()["sessions"]
        assert seen["device"] == name
        forgotten = await client.delete(f"/api/operator/devices/{name}", headers=right)
        assert forgotten.json() == {"forgotten": 1}
        assert (await page.closed())[0] == 4410
        for token in (granted["token"], idle["token"]):
            assert (await client.post("/api/token", headers=bearer(token))).status_code == 401
        late = await open_page(fresh, idle["token"], idle["session_id"])
        assert (await late.closed())[0] == 4401
        refused = await client.post("/api/token", json={}, headers=own(fresh))
        assert_error(refused, 401, "unauthorized", retryable=False)
        assert "not paired any more" in refused.json()["detail"]
        assert f'{COOKIE}=""' in refused.headers["set-cookie"]
        assert "Max-Age=0" in refused.headers["set-cookie"]
        assert COOKIE not in client.cookies
        assert metric(fresh, "auth_failures_total", reason="device") == 1
        assert (await other.post("/api/token", json={}, headers=own(fresh))).status_code == 200
        # All: who pairs afterwards is in.
        assert (await client.delete("/api/operator/devices", headers=right)).json() == {
            "forgotten": 1
        }
        assert (await other.post("/api/token", json={}, headers=own(fresh))).status_code == 401
        await paired(fresh, other)
        assert (await other.post("/api/token", json={}, headers=own(fresh))).status_code == 200
        bad = await client.delete("/api/operator/devices/x", headers=right)
        assert_error(bad, 400, "bad_request", retryable=False)
        assert (await client.get("/api/operator/devices")).status_code == 401


async def test_a_device_forgets_itself(run: Running) -> None:
    async with http(run) as client:
        nothing = await client.delete("/api/token/device", headers=own(run))
        assert (nothing.status_code, nothing.json()) == (200, {"forgotten": False})
        cookie = await paired(run, client)
        done = await client.delete("/api/token/device", headers=own(run))
        assert done.json() == {"forgotten": True}
        assert COOKIE not in client.cookies
        copied = own(run) | {"Cookie": f"{COOKIE}={cookie}"}
        assert (await client.post("/api/token", json={}, headers=copied)).status_code == 401


async def test_where_no_code_is_asked_for_the_cookie_is_of_no_matter() -> None:
    """An open server lets everybody in, and pairs nobody."""
    async with running() as run, http(run) as client:
        reply = await client.post("/api/token", headers={"Cookie": f"{COOKIE}=x"})
        assert reply.status_code == 200
        assert "set-cookie" not in reply.headers
        issued = await take_token(run)
        assert "paired" not in issued


async def test_a_restart_knows_its_devices(tmp_path: Path) -> None:
    """A device's token is valid after a restart only with the same key, code and file."""
    for name in ("a", "b"):
        path = tmp_path / name
        path.write_text(name * 40)
        path.chmod(0o600)

    def settings(**more: str) -> dict[str, str]:
        given = {"access_code": CODE, "jwt_secret_key": SECRET, "device_key_path": "a", **more}
        return {**given, "device_key_path": str(tmp_path / given["device_key_path"])}

    async def known(url: str) -> int:
        headers = {"Origin": url, "Cookie": f"{COOKIE}={cookie}"}
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.post(f"{url}/api/token", json={}, headers=headers)).status_code

    async with running(**settings(), pairing_hosts="127.0.0.1") as run:
        cookie, _ = run.program.added.provided[AuthMethod].devices.pair(IPHONE, time.time())
    async with ServerProcess({name.upper(): one for name, one in settings().items()}) as server:
        assert await known(server.url) == 200
    assert cookie not in server.text
    for changed in (
        {"access_code": "another-code-42"},
        {"jwt_secret_key": SECRET[::-1]},
        {"device_key_path": "b"},
    ):
        async with running(**settings(**changed)) as run:
            assert await known(run.base_url) == 401, changed

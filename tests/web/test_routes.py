"""HTTP: each route, each status and its one body, each limit one step below and above."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import re
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import pytest_asyncio
from aiortc import RTCConfiguration, RTCPeerConnection

from server.auth import TokenIssuer, derive_signing_key, new_session_id
from server.web.request_guard import AuthMethod
from server.webrtc_server import PeerConnection
from tests.support.clients import bearer, http, metric, open_page, page_of, take_token, with_client
from tests.support.fakes_app import assert_error
from tests.support.running import Running, running
from tests.support.timing import allowances_held, at_once
from tests.web.conftest import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="module")

CODE = "open-sesame-77"
LOCKED = {"access_code": CODE, "jwt_secret_key": SECRET}
OFFER = "/api/webrtc/offer"


async def make_offer(*kinds: str, direction: str = "sendonly", channel: bool = False) -> str:
    """An offer as a real peer makes it."""
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in kinds:
        pc.addTransceiver(kind, direction=direction)
    if channel:
        pc.createDataChannel("x")
    await pc.setLocalDescription(await pc.createOffer())
    sdp: str = pc.localDescription.sdp
    await pc.close()
    return sdp


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(run: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with http(run) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sdp() -> str:
    return await make_offer("video")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked() -> AsyncIterator[tuple[Running, httpx.AsyncClient]]:
    """A server with an access code, and with a token before its metrics."""
    async with with_client(
        **LOCKED,
        metrics_token="metrics-token-1",
        rate_limit_per_minute=0,
        turn_urls="turn:turn.example.org:3478?transport=udp",
        turn_secret="turn-secret",
        stun_urls="stun:stun.example.org",
        session_timeout=600,
    ) as (run, client):
        yield run, client


async def post_offer(
    client: httpx.AsyncClient, sdp: str, headers: dict[str, str] | None = None
) -> httpx.Response:
    return await client.post(OFFER, json={"sdp": sdp, "type": "offer"}, headers=headers)


# Page and health


async def test_page_for_browsers_and_json_for_the_rest(client: httpx.AsyncClient) -> None:
    """`/` is the page to whoever accepts HTML, else a health check; caches hear that both exist."""
    page = await client.get("/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<html" in page.text
    for accept in ("application/json", "*/*"):
        check = await client.get("/", headers={"Accept": accept})
        assert check.status_code == 200
        assert check.json()["status"] == "ok"
        assert check.headers["vary"] == "Accept"
        assert page.headers["vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize("path", ["/", "/health", "/health/live", "/client/style.css", "/nowhere"])
async def test_head_is_get_without_a_body(client: httpx.AsyncClient, path: str) -> None:
    whole, head = await client.get(path), await client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == whole.headers[name]


async def test_a_browser_that_has_a_file_is_not_sent_it_again(client: httpx.AsyncClient) -> None:
    """It asks with the tag that it got, a weak one too; another tag gets the file."""
    for path, accept in (("/", "text/html"), ("/client/client.js", "*/*")):
        first = await client.get(path, headers={"Accept": accept})
        tag = first.headers["etag"]
        for known in (tag, f"W/{tag}", f'"of before", {tag}'):
            again = await client.get(path, headers={"Accept": accept, "If-None-Match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == tag
            assert again.headers["cache-control"] == "no-cache"
            assert again.headers.get("vary") == first.headers.get("vary")
            assert "script-src 'self'" in again.headers["content-security-policy"]
        other = await client.get(path, headers={"Accept": accept, "If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)


async def test_files_of_the_page(client: httpx.AsyncClient) -> None:
    """The page's own files come with their type; nothing beside them can be read."""
    for name in ("client.js", "core/live/visit.js", "core/operator/panel.js"):
        script = await client.get(f"/client/{name}")
        assert script.status_code == 200
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"
        assert script.headers["x-content-type-options"] == "nosniff"
        # Asked for each time, and sent where it differs.
        assert script.headers["cache-control"] == "no-cache"
        assert script.headers["etag"]
        assert "script-src 'self'" in script.headers["content-security-policy"]
    for name in (
        *("nothing.js", "..%2fconfig.py", ".hidden.js", "%2e%2e%2frequirements.txt"),
        *("..%5cconfig.py", "client.js%00", "README.md", "a%2fb.js"),
        *("live", "live/nothing.js", "live/../../config.py", "live/%2e%2e/boot.js"),
        *("live//visit.js", "live/.visit.js", "..%2fclient%2fboot.js"),
        *("%2fetc%2fpasswd", "a/b/c.js", "live%5cvisit.js"),
    ):
        assert_error(await client.get(f"/client/{name}"), 404, "not_found", retryable=False)


async def test_texts_of_the_page_are_sent_compressed(client: httpx.AsyncClient) -> None:
    """To a browser that takes them so; both ways are the same text with the same tag."""
    for path in ("/", "/service_worker.js", "/client/client.js", "/client/languages/de.json"):
        plain, packed = [
            await client.get(path, headers={"Accept": "text/html", "Accept-Encoding": how})
            for how in ("identity", "gzip, br")
        ]
        assert "content-encoding" not in plain.headers
        assert packed.headers["content-encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["vary"]
        assert packed.content == plain.content
        assert packed.headers["etag"] == plain.headers["etag"]
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"]) / 2
    picture = await client.get("/client/icons/small.png", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in picture.headers


async def test_health_of_a_server_that_can_answer(client: httpx.AsyncClient) -> None:
    """Detail on /health, and both probes say yes."""
    reply = await client.get("/health")
    assert reply.status_code == 200
    body = reply.json()
    assert body["status"] == "ok"
    assert body["engine"]["name"] == "vllm"
    assert body["engine"]["model"] == "fake-vl"
    assert body["engine"]["reachable"] is True
    kinds = ("chat", "watch", "program", "describe", "prefill")
    assert body["queue_depth"] == dict.fromkeys(kinds, 0)
    assert {"version", "uptime_seconds", "sessions", "cameras"} <= body.keys()
    assert (await client.get("/health/live")).status_code == 200
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


# Tokens


async def test_a_token(client: httpx.AsyncClient, run: Running) -> None:
    """All that is promised, nothing cached, and no session begun."""
    sessions = len(run.program.sessions)
    reply = await client.post("/api/token")
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    body = reply.json()
    assert body.keys() == {"token", "session_id", "expires_in", "token_type", "ice_servers"}
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 3600
    assert body["ice_servers"] == []
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", body["session_id"])
    assert len(run.program.sessions) == sessions


async def test_renewal_keeps_the_session(client: httpx.AsyncClient, run: Running) -> None:
    """A valid bearer token gets a new token of the same session, which opens the same socket."""
    first = await take_token(run)
    reply = await client.post("/api/token", headers=bearer(first["token"]))
    second = reply.json()
    assert second["session_id"] == first["session_id"]
    assert second["token"] != first["token"]
    async with page_of(run, second["token"], second["session_id"]):
        pass


@pytest.mark.parametrize("value", ["Bearer none", "Basic abc", "Bearer", "expired"])
async def test_renewal_needs_a_valid_token(client: httpx.AsyncClient, value: str) -> None:
    """A bad token is not taken for a wish for a new session."""
    if value == "expired":
        key = derive_signing_key(SECRET, "session tokens", "")
        old = TokenIssuer(key, 10).issue(new_session_id(), now=1_000_000)
        value = f"Bearer {old.token}"
    reply = await client.post("/api/token", headers={"Authorization": value})
    assert_error(reply, 401, "unauthorized", retryable=False)
    assert reply.headers["www-authenticate"].startswith('Bearer error="invalid_token"')


async def test_access_code(locked: tuple[Running, httpx.AsyncClient]) -> None:
    """With ACCESS_CODE a token costs the code or an older token; refusals say what is missing."""
    run, client = locked
    missing = await client.post("/api/token")
    assert_error(missing, 401, "unauthorized", retryable=False)
    wrong = await client.post("/api/token", json={"access_code": "wrong-code-123"})
    assert_error(wrong, 401, "unauthorized", retryable=False)
    assert missing.json()["detail"] != wrong.json()["detail"]
    assert "wrong-code-123" not in wrong.text
    assert CODE not in wrong.text
    assert metric(run, "auth_failures_total", reason="bad_code") >= 2
    right = await client.post("/api/token", json={"access_code": f" {CODE} "})
    assert right.status_code == 200
    renewed = await client.post("/api/token", headers=bearer(right.json()["token"]))
    assert renewed.json()["session_id"] == right.json()["session_id"]


async def test_the_authority_is_offered_only_where_there_is_one(client: httpx.AsyncClient) -> None:
    """Without CA_CERT_PATH there is nothing at its address."""
    assert_error(await client.get("/ca.crt"), 404, "not_found", retryable=False)


async def test_relay_credentials_that_expire(
    locked: tuple[Running, httpx.AsyncClient],
) -> None:
    """TURN credentials are of the REST form; the session's id is not in them."""
    _, client = locked
    body = (await client.post("/api/token", json={"access_code": CODE})).json()
    stun, turn = body["ice_servers"]
    assert stun == {"urls": ["stun:stun.example.org"]}
    assert turn["urls"] == ["turn:turn.example.org:3478?transport=udp"]
    expiry, _, user = turn["username"].partition(":")
    assert abs(int(expiry) - time.time() - 3600) < 5
    assert (body["ice_expires_in"], body["expires_in"]) == (3600, 600)
    assert body["session_id"] not in user
    digest = hmac.new(b"turn-secret", turn["username"].encode(), hashlib.sha1).digest()
    assert turn["credential"] == base64.b64encode(digest).decode()


# Offers


async def test_offer_without_a_token(client: httpx.AsyncClient, run: Running, sdp: str) -> None:
    """With auth off the answer brings the token too; it opens the socket, PATCHes and DELETEs."""
    reply = await post_offer(client, sdp)
    assert reply.status_code == 200
    body = reply.json()
    assert body["type"] == "answer"
    assert body["sdp"].startswith("v=0")
    assert {"token", "expires_in", "ice_servers", "session_id", "sender"} <= body.keys()
    assert {"idle", "awake", "ramp"} <= body["sender"].keys()
    assert body["sender"]["idle"].keys() == {
        *("max_framerate", "max_bitrate", "degradation_preference", "content_hint")
    }
    async with page_of(run, body["token"], body["session_id"]):
        pass
    session = f"{OFFER}?session={body['session_id']}"
    patched = await client.patch(session, json={"candidates": []}, headers=bearer(body["token"]))
    assert (patched.status_code, patched.json()) == (200, {"added": 0})
    ended = await client.delete(session, headers=bearer(body["token"]))
    assert (ended.status_code, ended.json()) == (200, {"ended": True})
    again = await client.delete(session, headers=bearer(body["token"]))
    assert (again.status_code, again.json()) == (200, {"ended": False})


async def test_a_new_offer_replaces(client: httpx.AsyncClient, run: Running, sdp: str) -> None:
    """One camera a session: a second offer of the same token takes the first one's place."""
    token = (await take_token(run))["token"]
    cameras = len(run.program.webrtc)
    for _ in range(2):
        reply = await post_offer(client, sdp, bearer(token))
        assert reply.status_code == 200
        assert "token" not in reply.json()
        assert len(run.program.webrtc) == cameras + 1
    await client.delete(OFFER, headers=bearer(token))


async def test_what_a_page_gave_up_and_comes_late_changes_nothing(
    client: httpx.AsyncClient, run: Running, sdp: str
) -> None:
    """Offers, candidates and ends of an older attempt: 409; the newest one's connection stays."""
    issued = await take_token(run)
    headers = bearer(issued["token"])
    body = {"sdp": sdp, "type": "offer"}

    def at(number: int) -> str:
        return f"{OFFER}?session={issued['session_id']}&page=p1&attempt={number}"

    assert (await client.post(at(2), json=body, headers=headers)).status_code == 200
    connection = run.program.webrtc.get(issued["session_id"])
    late = [
        await client.post(at(1), json=body, headers=headers),
        await client.patch(at(1), json={"candidates": []}, headers=headers),
        await client.delete(at(1), headers=headers),
    ]
    for reply in late:
        assert_error(reply, 409, "conflict", retryable=False)
    assert run.program.webrtc.get(issued["session_id"]) is connection
    # The second one's connection healed while a third one was under way and given up.
    assert (await client.patch(at(4), json={"candidates": []}, headers=headers)).status_code == 200
    assert (await client.post(at(3), json=body, headers=headers)).status_code == 409
    assert run.program.webrtc.get(issued["session_id"]) is connection
    ended = await client.delete(at(5), headers=headers)
    assert ended.json() == {"ended": True}
    assert (await client.post(at(5), json=body, headers=headers)).status_code == 409
    bad = await client.post(f"{OFFER}?page=p1&attempt=x", json=body, headers=headers)
    assert_error(bad, 400, "bad_request", retryable=False)


async def test_an_offer_overtaken_while_it_is_answered_takes_no_place(
    client: httpx.AsyncClient, run: Running, sdp: str
) -> None:
    """A newer one of its page that began later and is answered first keeps the place."""
    issued = await take_token(run)
    session_id = issued["session_id"]
    url = f"{OFFER}?session={session_id}&page=p1&attempt="
    headers = bearer(issued["token"])

    async def offer(number: int) -> int:
        body = {"sdp": sdp, "type": "offer"}
        return (await client.post(f"{url}{number}", json=body, headers=headers)).status_code

    answered = asyncio.Event()
    answer = PeerConnection.answer
    slow = True

    async def hold(self: PeerConnection, pool: ThreadPoolExecutor) -> str:
        nonlocal slow
        text = await answer(self, pool)
        if slow:
            slow = False
            await answered.wait()
        return text

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PeerConnection, "answer", hold)
        first = asyncio.create_task(offer(1))
        while slow:
            await asyncio.sleep(0.01)
        assert await offer(2) == 200
        connection = run.program.webrtc.get(session_id)
        answered.set()
        assert await first == 409
    assert run.program.webrtc.get(session_id) is connection
    await client.delete(f"{url}2", headers=headers)


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_patch_and_delete_always_need_a_token(client: httpx.AsyncClient, method: str) -> None:
    """Auth off or not."""
    body: dict[str, Any] | None = {"candidates": []} if method == "PATCH" else None
    for headers in ({}, bearer("none"), {"Authorization": "Basic x"}):
        reply = await client.request(method, OFFER, json=body, headers=headers)
        assert_error(reply, 401, "unauthorized", retryable=False)


async def test_patch_without_a_camera_is_404(client: httpx.AsyncClient, run: Running) -> None:
    """There is nothing to add candidates to."""
    token = (await take_token(run))["token"]
    reply = await client.patch(OFFER, json={"candidates": []}, headers=bearer(token))
    assert_error(reply, 404, "not_found", retryable=False)


async def test_offer_to_an_ended_one_is_404(
    client: httpx.AsyncClient, run: Running, sdp: str
) -> None:
    """A session ends once for good."""
    issued = await take_token(run)
    async with page_of(run, issued["token"], issued["session_id"]):
        await run.program.sessions.end(issued["session_id"], "over")
    reply = await post_offer(client, sdp, bearer(issued["token"]))
    assert_error(reply, 404, "not_found", retryable=False)


async def test_session_that_ends_during_its_offer_is_404(
    client: httpx.AsyncClient, run: Running, sdp: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer would belong to nobody: the connection is taken back."""
    issued = await take_token(run)
    connect = run.program.webrtc.connect

    async def slow(key: str, *rest: Any, **options: Any) -> str:
        answer = await connect(key, *rest, **options)
        await run.program.sessions.end(key, "over")
        return answer

    monkeypatch.setattr(run.program.webrtc, "connect", slow)
    cameras = len(run.program.webrtc)
    reply = await post_offer(client, sdp, bearer(issued["token"]))
    assert_error(reply, 404, "not_found", retryable=False)
    assert len(run.program.webrtc) == cameras


async def test_each_unusable_offer_has_its_own_sentence(
    client: httpx.AsyncClient, run: Running, sdp: str
) -> None:
    """422 for each that has no camera which can be read; and no place is taken."""
    sessions = len(run.program.sessions)
    unusable = {
        "no media": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        "audio": await make_offer("audio"),
        "channel": await make_offer(channel=True),
        "recvonly": await make_offer("video", direction="recvonly"),
        "codec": re.sub("VP8|H264", "AV1X", sdp),
        "no sdp": "hello",
        "no ice": re.sub(r"a=(ice-ufrag|ice-pwd|fingerprint).*\r\n", "", sdp),
        "no video": await make_offer("audio", channel=True),
    }
    sentences = {}
    for name, text in unusable.items():
        reply = await post_offer(client, text)
        assert_error(reply, 422, "unusable_offer", retryable=False)
        sentences[name] = reply.json()["detail"]
    assert len(set(sentences.values())) == len(sentences), sentences
    assert len(run.program.sessions) == sessions


async def test_a_refused_offer_does_not_end_a_session(
    client: httpx.AsyncClient, run: Running, sdp: str
) -> None:
    """The same token may offer again, and a session with a socket keeps it."""
    issued = await take_token(run)
    headers, bad = bearer(issued["token"]), "v=0\r\n"
    assert (await post_offer(client, bad, headers)).status_code == 422
    assert (await post_offer(client, sdp, headers)).status_code == 200
    async with page_of(run, issued["token"], issued["session_id"]) as page:
        assert (await post_offer(client, bad, headers)).status_code == 422
        assert len(await page.ponged()) < 10
        assert issued["session_id"] in run.program.sessions
    await client.delete(OFFER, headers=headers)


def with_candidates(sdp: str, count: int) -> str:
    """The offer with exactly so many candidates."""
    kept = [line for line in sdp.splitlines() if not line.startswith("a=candidate")]
    kept += [
        f"a=candidate:{n} 1 udp {1000 + n} 192.0.2.{n % 200 + 1} {2000 + n} typ host"
        for n in range(count)
    ]
    return "\r\n".join(kept) + "\r\n"


async def test_64_candidates_an_offer(client: httpx.AsyncClient, run: Running, sdp: str) -> None:
    """64 in the offer, or trickled after it, or both together; one more is refused."""
    token = (await take_token(run))["token"]
    headers = bearer(token)

    async def offer(count: int) -> httpx.Response:
        return await post_offer(client, with_candidates(sdp, count), headers)

    async def patch(count: int, start: int = 0) -> httpx.Response:
        found = [
            {
                "candidate": f"candidate:{n} 1 udp 99 192.0.2.{n + 1} {3000 + n} typ host",
                "sdpMid": "0",
            }
            for n in range(start, start + count)
        ]
        return await client.patch(OFFER, json={"candidates": found}, headers=headers)

    assert (await offer(64)).status_code == 200
    assert_error(await patch(1), 400, "bad_request", retryable=False)
    assert_error(await offer(65), 422, "unusable_offer", retryable=False)
    assert (await offer(0)).status_code == 200
    assert (await patch(60)).json() == {"added": 60}
    assert (await patch(4, 60)).json() == {"added": 4}
    assert_error(await patch(1, 64), 400, "bad_request", retryable=False)
    assert (await offer(0)).status_code == 200
    assert_error(await patch(65), 400, "bad_request", retryable=False)
    assert (await patch(64)).json() == {"added": 64}
    await client.delete(OFFER, headers=headers)


async def test_8_media_sections(client: httpx.AsyncClient) -> None:
    """Eight are taken, nine are not."""
    for count, status in ((8, 200), (9, 422)):
        reply = await post_offer(client, await make_offer(*["video"] * count))
        assert reply.status_code == status
        if status == 200:
            await client.delete(OFFER, headers=bearer(reply.json()["token"]))


async def test_64_kib_of_sdp(client: httpx.AsyncClient, sdp: str) -> None:
    """64 KiB are taken, one byte more is 413."""
    room = 65536 - len(sdp) - len("a=x:\r\n")
    whole = sdp + "a=x:" + "y" * room + "\r\n"
    assert len(whole) == 65536
    reply = await post_offer(client, whole)
    assert reply.status_code == 200
    await client.delete(OFFER, headers=bearer(reply.json()["token"]))
    longer = whole.replace("a=x:", "a=x:y")
    reply = await post_offer(client, longer)
    assert_error(reply, 413, "too_large", retryable=False)
    assert "65537" in reply.json()["detail"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_128_kib_of_body(client: httpx.AsyncClient, chunked: bool) -> None:
    """128 KiB are read (and are malformed here), one byte more is 413, announced or not."""
    start, end = b'{"sdp":"', b'"}'
    body = start + b"x" * (128 * 1024 - len(start) - len(end)) + end

    async def send(data: bytes) -> httpx.Response:
        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(data), 10_000):
                yield data[at : at + 10_000]

        return await client.post(
            OFFER,
            content=pieces() if chunked else data,
            headers={"Content-Type": "application/json"},
        )

    assert_error(await send(body), 400, "bad_request", retryable=False)
    assert_error(await send(body + b" "), 413, "too_large", retryable=False)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/token", b"{"),
        ("POST", "/api/token", b'{"access_code":5}'),
        ("POST", "/api/token", b'{"access_code":"' + b"x" * 257 + b'"}'),
        ("POST", OFFER, b""),
        ("POST", OFFER, b"[]"),
        ("POST", OFFER, b'{"type":"offer"}'),
        ("POST", OFFER, b'{"sdp":1,"type":"offer"}'),
        ("POST", OFFER, b'{"sdp":"v=0","type":"answer"}'),
        ("POST", OFFER, b'{"sdp":"\\ud800","type":"offer"}'),
        ("POST", OFFER, b"\xff\xfe"),
        ("PATCH", OFFER, b'{"candidates":{}}'),
        ("PATCH", OFFER, b'{"candidates":[1]}'),
        ("PATCH", OFFER, b'{"candidates":[{"sdpMLineIndex":-1}]}'),
    ],
)
async def test_malformed_bodies_are_400(
    client: httpx.AsyncClient, run: Running, method: str, path: str, body: bytes
) -> None:
    """One sentence each, in the one body of all errors."""
    headers = {"Content-Type": "application/json"}
    if method == "PATCH":
        headers |= bearer((await take_token(run))["token"])
    reply = await client.request(method, path, content=body, headers=headers)
    assert_error(reply, 400, "bad_request", retryable=False)


async def test_malformed_candidates(client: httpx.AsyncClient, run: Running, sdp: str) -> None:
    """And nothing of it is repeated; empty and mDNS ones are stepped over."""
    headers = bearer((await take_token(run))["token"])
    await post_offer(client, sdp, headers)

    async def patch(text: str | None) -> httpx.Response:
        entry = {"candidate": text, "sdpMid": "0"}
        return await client.patch(OFFER, json={"candidates": [entry]}, headers=headers)

    ends = ("secret-77", "1 1 udp x 192.0.2.1 5 typ host", "1 1 udp 1 192.0.2.7 5 typ host rport x")
    for text in (f"candidate:{end}" for end in ends):
        reply = await patch(text)
        assert_error(reply, 400, "bad_request", retryable=False)
        assert "secret-77" not in reply.text
    mdns = "candidate:1 1 udp 1 0a1b2c3d-0000-4000-8000-000000000000.local 5000 typ host"
    for empty in (None, "", mdns):
        assert (await patch(empty)).json() == {"added": 0}
    await client.delete(OFFER, headers=headers)


# Refusals that hold everywhere


async def test_a_name_made_to_lead_here_gets_no_token(
    sdp: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A stranger's page whose name leads here (DNS rebinding) asks with its own name, with a
    matching origin or with none.

    It is refused, and only the log names the setting; a name that was given is fine, and health
    checks by any name pass.
    """
    async with (
        running(rate_limit_per_minute=0, allowed_hosts="cam.example.org") as named,
        http(named) as client,
    ):
        for host, status in (("evil.example", 403), ("cam.example.org", 200)):
            at = {"Host": f"{host}:{named.port}"}
            for headers in (at | {"Origin": f"http://{host}:{named.port}"}, at):
                reply = await client.post("/api/token", headers=headers)
                assert reply.status_code == status
                if status == 403:
                    assert "does not answer under this host name" in reply.json()["detail"]
                    assert "ALLOWED" not in reply.text
                for path in ("/health", "/health/live", "/metrics"):
                    assert (await client.get(path, headers=headers)).status_code == 200
            reply = await client.post(OFFER, json={"sdp": sdp, "type": "offer"}, headers=at)
            assert reply.status_code == status
        token = (await client.post("/api/token", headers=at)).json()["token"]
        stranger = {"Host": "evil.example"} | bearer(token)
        for method in ("PATCH", "DELETE"):
            reply = await client.request(method, OFFER, json={"candidates": []}, headers=stranger)
            assert_error(reply, 403, "forbidden", retryable=False)
    told = [one for one in caplog.records if getattr(one, "field", "") == "ALLOWED_HOSTS"]
    # Anybody can send such requests: the log has one line a minute.
    assert len(told) == 1


@pytest.mark.parametrize("path", ["/upload", "/api/upload/x"])
async def test_uploads_are_403(client: httpx.AsyncClient, path: str) -> None:
    """Whatever the method: only live camera streams are accepted. Other paths: test_middleware.py."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        reply = await client.request(method, path, content=b"x" * 10)
        assert_error(reply, 403, "upload_refused", retryable=False)
        assert "only live camera streams" in reply.json()["detail"]


async def test_multipart_is_415_before_it_is_read(run: Running, client: httpx.AsyncClient) -> None:
    """A multipart body is refused with none of it read: the answer is there, the body is not."""
    for path in ("/", "/api/token", OFFER, "/nothing"):
        reply = await client.post(path, files={"file": b"x" * 1000})
        assert_error(reply, 415, "unsupported_media_type", retryable=False)
    reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
    writer.write(
        b"POST /api/token HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        b"Content-Length: 100000000\r\n\r\n"
    )
    async with at_once():
        assert b" 415 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


# Limits, full, draining


async def test_rate_limit(sdp: str) -> None:
    """RATE_LIMIT_PER_MINUTE tokens and offers together pass; the next is 429 with when to come."""
    async with (
        allowances_held(),
        with_client(rate_limit_per_minute=4, trusted_proxies="127.0.0.1") as (run, client),
    ):
        for _ in range(3):
            assert (await client.post("/api/token")).status_code == 200
        offered = await post_offer(client, sdp)
        assert offered.status_code == 200
        for path, body in (("/api/token", {}), (OFFER, {"sdp": sdp, "type": "offer"})):
            reply = await client.post(path, json=body)
            assert_error(reply, 429, "rate_limited", retryable=True)
            # 15, and one more where the sum of the waits is a little above it
            assert 1 <= int(reply.headers["retry-after"]) <= 16
        assert metric(run, "auth_failures_total", reason="rate") == 2
        # Another address, behind the proxy that is trusted; what a client writes itself counts
        # nothing.
        other = {"X-Forwarded-For": "203.0.113.9"}
        assert (await client.post("/api/token", headers=other)).status_code == 200
        # Requests for neither a token nor an offer are not limited.
        headers = bearer(offered.json()["token"])
        assert (await client.delete(OFFER, headers=headers)).status_code == 200
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    ("trusted", "headers", "same"),
    [
        # The client's word counts only behind a proxy of ours: here each header is another asker,
        # or none is.
        ("127.0.0.0/8", ["203.0.113.1", "203.0.113.2"], False),
        ("", ["203.0.113.1", "203.0.113.2"], True),
        # Entries that the client wrote, left of the proxy's own, do not change the address.
        ("127.0.0.1", ["198.51.100.1, 203.0.113.1", "198.51.100.2, 203.0.113.1"], True),
        # Nor does a header of its own before the proxy's.
        ("127.0.0.1", ["198.51.100.1|203.0.113.1", "198.51.100.2|203.0.113.1"], True),
        ("127.0.0.1,10.0.0.0/8", ["203.0.113.1, 10.0.0.1", "203.0.113.1, 10.9.9.9"], True),
        ("127.0.0.1", ["2001:db8::1", "2001:db8::2"], True),
    ],
)
async def test_whose_forwarded_address_counts(
    sdp: str, trusted: str, headers: list[str], same: bool
) -> None:
    """TRUSTED_PROXIES decides it for the limits of tokens and of offers alike. Which hop of a header
    counts, and of which network it is: core/test_addresses.py.
    """
    async with with_client(rate_limit_per_minute=1, trusted_proxies=trusted) as (run, client):
        body = {"sdp": sdp, "type": "offer"}
        found = []
        for path, json in (("/api/token", {}), (OFFER, body)):
            run.program.access.limiter._addresses._full_at.clear()
            for header in headers:
                told = [("X-Forwarded-For", one) for one in header.split("|")]
                reply = await client.post(path, json=json, headers=told)
                found.append(reply.status_code)
    second = 429 if same else 200
    assert found == [200, second, 200, second]


async def test_a_flood_from_an_address_leaves_its_neighbours_alone(sdp: str) -> None:
    """Whoever holds a token renews it and offers while the address is out of allowance."""
    async with allowances_held(), with_client(rate_limit_per_minute=9) as (run, client):
        held, late, idle = [await take_token(run) for _ in range(3)]
        begun = await post_offer(client, sdp, bearer(held["token"]))
        assert begun.status_code == 200
        while (await client.post("/api/token")).status_code == 200:
            pass
        assert (await post_offer(client, sdp)).status_code == 429
        # A page that just got its token still gets its camera in, and a page in the midst of things
        # goes on.
        assert (await post_offer(client, sdp, bearer(late["token"]))).is_success
        renewed = await client.post("/api/token", headers=bearer(held["token"]))
        assert renewed.status_code == 200
        again = await post_offer(client, sdp, bearer(renewed.json()["token"]))
        assert again.status_code == 200
        # Its own allowance has an end, too.
        assert (await post_offer(client, sdp, bearer(held["token"]))).status_code == 429
        # Tokens that never begin a session are no way around the address's.
        assert (await client.post("/api/token", headers=bearer(idle["token"]))).status_code == 200
        assert (await client.post("/api/token", headers=bearer(idle["token"]))).status_code == 429
        # Nor are tokens that are not good.
        assert (await post_offer(client, sdp, bearer("a.b.c"))).status_code == 429


async def test_guesses_lock_out_no_pairing_code_and_no_token(sdp: str) -> None:
    """Wrong access codes cost three requests each; the pairing code and a held token pass still."""
    async with allowances_held(), with_client(**LOCKED, rate_limit_per_minute=9) as (run, client):
        held = (await client.post("/api/token", json={"access_code": CODE})).json()
        guesses = [
            (await client.post("/api/token", json={"access_code": "guess"})).status_code
            for _ in range(4)
        ]
        assert guesses == [401, 401, 401, 429]
        code = run.program.added.provided[AuthMethod].codes.issue(time.monotonic())
        # No code has a dot.
        wrong = {"pairing_code": "." + code[1:]}
        assert (await client.post("/api/token", json=wrong)).status_code == 429
        assert (await client.post("/api/token", json={"pairing_code": code})).status_code == 200
        assert (await client.post("/api/token", headers=bearer(held["token"]))).is_success
        offered = await post_offer(client, sdp, bearer(held["token"]))
        assert offered.status_code == 200


async def test_metrics_token(
    locked: tuple[Running, httpx.AsyncClient], client: httpx.AsyncClient
) -> None:
    """Open without METRICS_TOKEN; with it, that token and no other."""
    assert (await client.get("/metrics")).status_code == 200
    _, closed = locked
    for headers in ({}, bearer("metrics-token-2"), {"Authorization": "Basic metrics-token-1"}):
        reply = await closed.get("/metrics", headers=headers)
        assert_error(reply, 401, "unauthorized", retryable=False)
    reply = await closed.get("/metrics", headers=bearer("metrics-token-1"))
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_socket_and_offer_share_the_session(
    client: httpx.AsyncClient, run: Running, sdp: str
) -> None:
    """Whichever comes first begins it; the other joins."""
    issued = await take_token(run)
    page = await open_page(run, issued["token"], issued["session_id"])
    status = (await page.next("ready"), await page.next("status"))[1]
    assert "camera" not in status
    sessions = len(run.program.sessions)
    reply = await post_offer(client, sdp, bearer(issued["token"]))
    assert reply.json()["session_id"] == issued["session_id"]
    assert len(run.program.sessions) == sessions
    assert (await page.next("status"))["camera"] == "starting"
    await client.delete(OFFER, headers=bearer(issued["token"]))
    assert (await page.next("status", camera="ended"))["camera"] == "ended"
    await page.close()

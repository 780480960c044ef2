"""Strangers over HTTP and WebSocket: tokens of every forgery at every door, foreign origins, stolen
ids, compressed bombs.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from server.auth import TokenIssuer, derive_signing_key, new_session_id
from tests.media.test_webrtc_server import CHROMIUM
from tests.support.clients import http, metric, open_page, page_of, take_token
from tests.support.running import Running, running
from tests.web.test_auth import HS256, forge, good_claims

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "k3JHvT8s0QmXr5WbZp1LdYc7NfGa9UeR2i"
KEY = derive_signing_key(SECRET, "session tokens", "").encode()
OFFER, WHIP = "/api/webrtc/offer", "/api/whip"
DOORS = [
    ("POST", "/api/token"),
    ("POST", OFFER),
    ("PATCH", OFFER),
    ("DELETE", OFFER),
    ("POST", WHIP),
    ("PATCH", WHIP + "/name"),
    ("DELETE", WHIP + "/name"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    async with running(
        jwt_secret_key=SECRET, require_auth=True, rate_limit_per_minute=0, max_sessions=1000
    ) as run:
        yield run


async def knock(
    client: httpx.AsyncClient, method: str, path: str, token: str, **headers: str
) -> httpx.Response:
    """The right body for each door, with this token."""
    headers = {"authorization": f"Bearer {token}", **headers}
    if path.startswith(WHIP):
        kind = "application/sdp" if method == "POST" else "application/trickle-ice-sdpfrag"
        return await client.request(
            method,
            path,
            content=CHROMIUM,
            headers={**headers, "content-type": kind, "if-match": '"x"'},
        )
    body: dict[str, Any] = (
        {"candidates": []} if method == "PATCH" else {"sdp": CHROMIUM, "type": "offer"}
    )
    return await client.request(method, path, json=body, headers=headers)


def forgeries() -> dict[str, str]:
    """Tokens that must not open anything; each would be good but for its name.

    All that a token's own check refuses: test_auth.py.
    """
    now = int(time.time())
    none = forge({"alg": "none"}, good_claims(), key=KEY)
    hs512 = {"alg": "HS512"}
    own_key = {**HS256, "jwk": {"kty": "oct", "k": "AA"}, "jku": "http://evil.example/"}
    return {
        "alg none": none.rpartition(".")[0] + ".",
        "HS512 with the secret": forge(hs512, good_claims(), key=KEY, digest=hashlib.sha512),
        "expired": forge(HS256, good_claims(iat=now - 7200, exp=now - 3600), key=KEY),
        "of a code of long ago": forge(HS256, good_claims(auth_time=now - 86_400), key=KEY),
        "signed with the secret itself": forge(HS256, good_claims(), key=SECRET.encode()),
        "another key by kid": forge({**HS256, "kid": "../../dev/null"}, good_claims(), key=b""),
        "a key of its own by jwk": forge(own_key, good_claims(), key=b"\0"),
        "of another server": TokenIssuer(SECRET[::-1], 60).issue("abc").token,
        "empty parts": "..",
    }


async def test_no_forged_token_opens_any_door(run: Running) -> None:
    """Every forgery at every door: 401 with one sentence, no session begun, a socket gets 4401."""
    async with http(run) as client:
        for kind, token in forgeries().items():
            for method, path in DOORS:
                reply = await knock(client, method, path, token)
                assert reply.status_code == 401, (kind, method, path, reply.text)
                assert reply.json()["error"]["code"] == "unauthorized"
                assert token not in reply.text
            page = await open_page(run, token, "abc", how="query")
            assert (await page.closed())[0] == 4401, kind
        assert len(run.program.sessions) == 0
        # The same, but for nothing: it opens them.
        assert (
            await knock(client, *DOORS[0], forge(HS256, good_claims(), key=KEY))
        ).status_code == 200


async def test_no_door_opens_to_a_foreign_origin(run: Running) -> None:
    """Not even with a good token: 403 everywhere, before anything is done."""
    issued = await take_token(run)
    async with http(run) as client:
        for origin in ("http://evil.example", "null", f"http://127.0.0.1:{run.port + 1}"):
            for method, path in DOORS:
                reply = await knock(client, method, path, issued["token"], origin=origin)
                assert reply.status_code == 403, (method, path)
            page = await open_page(run, issued["token"], issued["session_id"], origin=origin)
            assert (await page.closed())[0] == 4403
    assert issued["session_id"] not in run.program.sessions


async def test_a_sessions_id_opens_nothing_and_tells_nothing(run: Running) -> None:
    """Without a token or with another session's, one that is there answers as one that is not."""
    other = await take_token(run)
    async with page_of(run) as page, http(run) as client:
        there = page.socket.request.path.removeprefix("/ws/") if page.socket.request else ""
        assert there in run.program.sessions
        answers: dict[str, list[Any]] = {}
        for session_id in (there, new_session_id()):
            seen: list[Any] = []
            for token in ("", other["token"]):
                headers = {"authorization": f"Bearer {token}"} if token else {}
                url, none = f"{OFFER}?session={session_id}", {"candidates": list[Any]()}
                for method in ("PATCH", "DELETE"):
                    reply = await client.request(method, url, json=none, headers=headers)
                    seen.append((reply.status_code, reply.text))
                reply = await client.delete(
                    f"{WHIP}/{session_id}?session={session_id}", headers=headers
                )
                seen.append((reply.status_code, reply.text))
            stolen = await open_page(run, other["token"], session_id)
            seen.append(await stolen.closed())
            nothing = await open_page(run, session_id=session_id, how="message", token="x")
            seen.append(await nothing.closed())
            answers[session_id] = seen
        assert answers[there] == answers[session_id]
        assert {entry[0] for entry in answers[there]} <= {401, 404, 200, 4401}
        await page.ponged()


async def test_compression_is_not_agreed_to(run: Running) -> None:
    """None is offered back, and a frame that says that it is compressed ends its socket."""
    issued = await take_token(run)
    socket = await connect(
        f"{run.ws_url}/ws/{issued['session_id']}?token={issued['token']}",
        extensions=[ClientPerMessageDeflateFactory()],
        compression=None,
        proxy=None,
    )
    assert socket.response is not None
    assert "Sec-WebSocket-Extensions" not in socket.response.headers
    assert socket.protocol.extensions == []
    # 16 MiB of spaces as a frame with the bit RSV1 (RFC 7692 section 6).
    packed = zlib.compressobj(wbits=-15)
    bomb = packed.compress(b" " * (16 << 20)) + packed.flush(zlib.Z_SYNC_FLUSH)
    frame = b"\xc1" + struct.pack("!BH", 0x80 | 126, len(bomb)) + bytes(4) + bomb
    assert len(bomb) < 65536
    socket.transport.write(frame)
    with suppress(ConnectionClosed):
        async with asyncio.timeout(5):
            while True:
                await socket.recv()
    assert socket.close_code == 1002


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
async def test_compressed_bodies_are_not_unpacked(run: Running, coding: str) -> None:
    """They are bytes that are no JSON; nothing inflates them, whatever they would become."""
    bomb = gzip.compress(json.dumps({"sdp": " " * (16 << 20), "type": "offer"}).encode())
    issued = await take_token(run)
    async with http(run) as client:
        began = time.process_time()
        reply = await client.post(
            OFFER,
            content=bomb,
            headers={
                "content-encoding": coding,
                "content-type": "application/json",
                "authorization": f"Bearer {issued['token']}",
            },
        )
        assert reply.status_code == 400
        assert time.process_time() - began < 1.0


async def test_floods_are_counted_and_bounded(run: Running) -> None:
    """Three hundred knocks with nothing leave no session of them; each counts."""
    before = metric(run, "auth_failures_total", reason="malformed")
    sessions = len(run.program.sessions)
    async with http(run) as client:
        for _ in range(100):
            replies = await asyncio.gather(*(knock(client, *DOORS[n], "a.b.c") for n in (0, 1, 3)))
            assert {reply.status_code for reply in replies} == {401}
    assert metric(run, "auth_failures_total", reason="malformed") >= before + 300
    assert len(run.program.sessions) == sessions


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (lambda sdp: sdp + "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n" * 300, 422),
        (lambda sdp: sdp + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 300, 422),
        (lambda sdp: sdp + "a=x:" + "y" * 70_000, 413),
        (lambda sdp: sdp + "a=x:" + "y" * 60_000, 200),
        (lambda sdp: sdp + "\r\n" * 20_000, 200),
        (lambda sdp: sdp + "".join(f"a=extmap:{n} urn:x:{n}\r\n" for n in range(1, 2000)), 200),
        (lambda sdp: sdp + "".join(f"a=ssrc:{n} cname:x\r\n" for n in range(2500)), 200),
        (lambda sdp: sdp + "".join(f"a=fingerprint:sha-256 {n}\r\n" for n in range(2000)), 422),
        (lambda sdp: sdp + "".join(f"a=rtcp-fb:96 x{n}\r\n" for n in range(2500)), 200),
        # Lines about all codecs, with as many codecs as may be: once 3 s and 100 MiB
        (lambda sdp: sdp + "a=rtpmap:96 VP8/90000\r\n" * 250 + "a=rtcp-fb:* x\r\n" * 3600, 200),
        (
            lambda sdp: (
                sdp.replace("96 97", " ".join(str(n) for n in range(96, 128)) + " 97")
                + "".join(f"a=rtpmap:{n} VP8/90000\r\n" for n in range(98, 127)) * 50
            ),
            422,
        ),
    ],
    ids=[
        *("candidates", "sections", "too long", "one long line", "empty lines", "extmaps"),
        *("ssrcs", "fingerprints", "feedback", "feedback of all", "codecs"),
    ],
)
async def test_offers_of_any_shape_cost_little(run: Running, change: Any, status: int) -> None:
    """Hundreds of sections, candidates, codecs, extensions, longest lines: answered or refused."""
    issued = await take_token(run)
    async with http(run) as client:
        began = time.process_time()
        reply = await client.post(
            OFFER,
            json={"sdp": change(CHROMIUM), "type": "offer"},
            headers={"authorization": f"Bearer {issued['token']}"},
        )
        spent = time.process_time() - began
        assert spent < 0.5
        assert len(reply.content) < 70_000
        assert reply.status_code == status, reply.text[:300]
        assert (await client.get("/health/live")).status_code == 200
    await run.program.sessions.end(issued["session_id"], "over")

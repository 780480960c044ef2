"""One POST over true connections: no redirect, an end in time, certificates."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from scripts.local_certificate import (
    LOOPBACK,
    list_general_names,
    make_authority,
    make_leaf,
    to_pem,
)
from server.features.webhooks.sender import DeliveryResult, WebhookClient
from server.features.webhooks.settings import Webhook
from server.features.webhooks.waiting import DeliveryError
from server.features.webhooks.webhooks import (
    MOST_CHARACTERS,
    PictureLink,
    build_body,
    make_headers,
    make_signature,
)
from server.session.part import Alert, AlertSource
from tests.features.webhooks.receiver import SECRET, receiving
from tests.support.timing import at_once

HEADERS = [("webhook-id", "msg_1")]


def hook(url: str, *, ca: str = "") -> Webhook:
    return Webhook("hall", url, SECRET, cameras=("*",), private=True, ca=ca)


async def test_a_post_arrives_whole() -> None:
    async with receiving() as receiver:
        body = b"x" * 100_000
        outcome = await WebhookClient().post(hook(receiver.url + "?room=1"), HEADERS, body)
        assert outcome == DeliveryResult(None, 204)
        (heard,) = receiver.heard
        assert (heard.method, heard.path, heard.body) == ("POST", "/hook?room=1", body)
        assert heard.headers["content-type"] == "application/json"
        assert heard.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert heard.headers["webhook-id"] == "msg_1"


async def test_no_redirect_is_followed() -> None:
    async with receiving() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            reply = (
                f"HTTP/1.1 {status} There\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n"
            )
            async with receiving(lambda heard, reply=reply: reply.encode()) as receiver:  # type: ignore[misc]
                outcome = await WebhookClient().post(hook(receiver.url), HEADERS, b"{}")
                assert outcome.trouble is DeliveryError.REDIRECT
        assert elsewhere.connections == 0


async def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert (await WebhookClient().post(hook(receiver.url), HEADERS, b"{}")).trouble is None
        assert proxy.connections == 0


@pytest.mark.parametrize(
    ("reply", "trouble"),
    [
        (None, DeliveryError.TIMEOUT),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3, DeliveryError.MALFORMED),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", DeliveryError.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300_000, DeliveryError.MALFORMED),
        (b"", DeliveryError.MALFORMED),
        (b"HTTP/1.1 500 No\r\nRetry-After: 77\r\n\r\n", DeliveryError.STATUS),
        # A body without an end is not read.
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"a" * 100_000, None),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_a_receiver_answers(reply: bytes | None, trouble: DeliveryError | None) -> None:
    async with receiving(lambda heard: reply) as receiver, at_once():
        sender = WebhookClient(seconds=0.5 if reply is None else 5.0)
        outcome = await sender.post(hook(receiver.url), HEADERS, b"{}")
        assert outcome.trouble is trouble
        assert outcome.pause == (77 if trouble is DeliveryError.STATUS else 0)


async def test_a_pause_until_a_date_and_a_token() -> None:
    """The receiver asks for a pause by an HTTP date; it gets the token of the list."""
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    reply = f"HTTP/1.1 429 Slow\r\nRetry-After: {until}\r\n\r\n".encode()
    async with receiving(lambda heard: reply) as receiver:
        given = replace(hook(receiver.url), token="tk_1")
        outcome = await WebhookClient().post(given, HEADERS, b"{}")
        assert 40 < outcome.pause <= 60
        assert receiver.heard[0].headers["authorization"] == "Bearer tk_1"
        await WebhookClient().post(hook(receiver.url), HEADERS, b"{}")
        assert "authorization" not in receiver.heard[1].headers


async def test_nobody_there() -> None:
    async with receiving() as receiver:
        pass
    assert (
        await WebhookClient().post(hook(receiver.url), HEADERS, b"{}")
    ).trouble is DeliveryError.UNREACHABLE


async def test_certificates_are_checked(tmp_path: Path) -> None:
    names = list_general_names(LOOPBACK)
    now = datetime.now(UTC)
    key, authority = make_authority(names, "test", now)
    (tmp_path / "authority.pem").write_bytes(to_pem(None, authority))
    (tmp_path / "server.pem").write_bytes(to_pem(*make_leaf(key, authority, names, now)))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")
    async with receiving(tls=tls) as receiver:
        outcome = await WebhookClient().post(hook(receiver.url), HEADERS, b"{}")
        assert outcome.trouble is DeliveryError.CERTIFICATE
        assert receiver.heard == []
        trusting = hook(receiver.url, ca=str(tmp_path / "authority.pem"))
        assert (await WebhookClient().post(trusting, HEADERS, b"{}")).trouble is None


async def test_cancelled_it_sends_nothing_more() -> None:
    """A receiver that reads slowly does not get the rest afterwards."""
    began, body = asyncio.Event(), b"x" * 20_000_000
    got = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        began.set()
        await over.wait()
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.close()
        read.set()

    over, read = asyncio.Event(), asyncio.Event()
    server = await asyncio.start_server(slow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    sending = asyncio.ensure_future(
        WebhookClient().post(hook(f"http://127.0.0.1:{port}/"), HEADERS, body)
    )
    await began.wait()
    sending.cancel()
    await asyncio.wait([sending])
    over.set()
    async with at_once():
        await read.wait()
    server.close()
    await server.wait_closed()
    assert sending.cancelled()
    assert got < len(body)


# The request for an alert: its body with the picture inline, as a link, or without, and its signature


RING = Alert(
    1_700_000_000_123.0,
    AlertSource("session-id-canary", "front-door"),
    watch="list-1",
    condition="a parcel lies at the door",
    reason="A box is there.",
    confidence=0.934,
    region=(0.1, 0.2, 0.5, 0.6),
    jpeg=b"\xff\xd8jpeg",
)


def read(alert: Alert, **way: Any) -> dict[str, Any]:
    return dict(json.loads(build_body(alert, **way)))


def test_a_link_has_no_picture() -> None:
    said = read(RING, link=PictureLink("https://cam.example.org/at/id/evidence/w", 1_700_000_060.0))
    assert said["data"]["evidence"] == {
        "type": "image/jpeg",
        "url": "https://cam.example.org/at/id/evidence/w",
        "expires_at": "2023-11-14T22:14:20.000Z",
    }
    assert read(RING)["data"]["evidence"] is None


def test_a_withheld_picture_is_none() -> None:
    assert read(Alert(0, AlertSource("s", "door")), inline=True)["data"]["evidence"] is None


def test_a_visitors_session_is_not_named() -> None:
    """Nor in what a debugger or a log would show of an alert."""
    said = build_body(Alert(0, AlertSource("session-id-canary"), condition="a dog"), inline=True)
    assert json.loads(said)["data"]["source"] == {"kind": "visitor", "name": ""}
    assert b"canary" not in said + build_body(RING, inline=True)
    assert "canary" not in repr(RING)
    assert "parcel" not in repr(RING)


def test_words_are_bounded() -> None:
    said = read(Alert(0, AlertSource("s"), condition="x" * 5000, reason="ü" * 5000))
    assert len(said["data"]["condition"]) == len(said["data"]["reason"]) == MOST_CHARACTERS


def test_words_that_are_no_unicode_are_sent_all_the_same() -> None:
    assert read(replace(RING, reason="half of \ud83d"))["data"]["reason"] == "half of ?"


KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


def test_the_published_example() -> None:
    """Of the libraries of Standard Webhooks, which all have it in their tests."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = make_signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_verifies() -> None:
    made = dict(make_headers(KEY, "msg_1", int(time.time()), b'{"a":1}'))
    assert Verifier(SECRET).verify(b'{"a":1}', made) == {"a": 1}
    made["webhook-timestamp"] = str(int(time.time()) - 301)
    with pytest.raises(WebhookVerificationError, match="too old"):
        Verifier(SECRET).verify(b'{"a":1}', made)

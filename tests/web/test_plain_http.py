"""Plain http at the https port."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from scripts.bench.http_json import request
from server.web.serving import answer_to
from tests.support.running import running_https


@pytest.mark.parametrize(
    ("first", "status", "location"),
    [
        (b"GET / HTTP/1.1\r\nHost: cam.local:8443\r\n\r\n", 307, "https://cam.local:8443/"),
        (b"GET /a?b=c HTTP/1.1\r\nX: y\r\nhOST:\tX\r\n", 307, "https://x/a?b=c"),
        (b"HEAD / HTTP/1.0\r\nHost: [::1]:1\r\n\r\n", 307, "https://[::1]:1/"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, None),
        (b"GET / HTTP/1.1\r\nHost: a.test/@b.test\r\n\r\n", 400, None),
        (b"GET http://other.test/ HTTP/1.1\r\nHost: cam.local\r\n\r\n", 400, None),
        (b"POST /api/token HTTP/1.1\r\nHost: cam.local\r\n\r\n{}", 400, None),
        (b"CONNECT cam.local:443 HTTP/1.1\r\nHost: cam.local\r\n\r\n", 400, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, None),
    ],
)
def test_what_is_answered(first: bytes, status: int, location: str | None) -> None:
    """A page's address is sent to its https twin; any unclear address is 400 with the remedy."""
    answer = answer_to(first)
    assert answer is not None
    head, _, body = answer.decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0].startswith(f"HTTP/1.1 {status} ")
    assert [line[10:] for line in lines if line.startswith("Location: ")] == [location][
        : location is not None
    ]
    assert "Connection: close" in lines
    if not first.startswith(b"HEAD"):
        assert "https" in json.loads(body)["detail"]
        assert f"Content-Length: {len(body)}" in lines
    else:
        assert body == ""


@pytest.mark.parametrize(
    "first", [b"\x16\x03\x01\x02\x00\x01\x00", b"GE", b"\x80\x2e\x01", b"SSH-2.0-x\r\n"]
)
def test_what_is_not_answered(first: bytes) -> None:
    """Handshakes and what is no HTTP are OpenSSL's business."""
    assert answer_to(first) is None


async def test_a_browser_finds_its_way(tmp_path: Path) -> None:
    """The https port answers plain http at once, keeps nothing of it, and serves https as ever."""
    async with running_https(tmp_path) as (run, _):
        plain = await request("GET", run.base_url.replace("https:", "http:") + "/health")
        assert (plain.status, plain.headers["location"]) == (307, f"{run.base_url}/health")
        reader, writer = await asyncio.open_connection("127.0.0.1", run.port)
        writer.write(b"POST /api/token HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
        writer.write(bytes(8 << 20))
        await writer.drain()
        writer.close()
        assert (await request("GET", f"{run.base_url}/health/live")).status == 200

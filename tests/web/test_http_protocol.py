"""Connections over HTTP: how many, from whom, and what becomes of slow ones."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scripts.bench.http_json import request
from server.web import protocols
from server.web import serving as serving_module
from server.web.protocols import Connections
from server.web.serving import make_uvicorn_config
from tests.support.clients import Page, http, metric, open_page, take_token
from tests.support.running import Running, running, running_https, served
from tests.support.timing import AT_ONCE_SECONDS, at_once

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE, PART = 4 << 20, 64 << 10


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """A small answer, or a large one for /large."""
    if scope["type"] != "http":
        return
    body, parts = (b"x" * PART, LARGE // PART) if scope["path"] == "/large" else (b"xx", 1)
    length = str(len(body) * parts).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    for left in reversed(range(parts)):
        await send({"type": "http.response.body", "body": body, "more_body": left > 0})


@asynccontextmanager
async def serving(connections: Connections) -> AsyncIterator[int]:
    """The port of a server of `answering`."""
    config = make_uvicorn_config(answering, host="127.0.0.1", port=0, connections=connections)
    config.lifespan = "off"
    async with served(config) as (_, port):
        yield port


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of tenths of a second."""
    assert (protocols.WAIT_SECONDS, protocols.TAKE_SECONDS) == (10.0, 15.0)
    monkeypatch.setattr(protocols, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(protocols, "TAKE_SECONDS", 0.3)
    monkeypatch.setattr(protocols, "CHECK_SECONDS", 0.05)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def knock(port: int, host: str = "127.0.0.1") -> Streams:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))


async def answer(streams: Streams) -> bytes:
    """Return the status line of one more request on the connection; empty when it is cut off."""
    reader, writer = streams
    try:
        writer.write(GET)
        await writer.drain()
        return await reader.readuntil(b"\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""


async def pages_of(run: Running, count: int) -> list[Page]:
    """So many sockets with their tokens, of a session each."""
    pages = []
    for n in range(count):
        issued = run.program.access.tokens.issue(f"s{n}")
        pages.append(await open_page(run, issued.token, issued.claims.session_id))
        await pages[-1].next("ready")
    return pages


async def cut_off(reader: asyncio.StreamReader) -> None:
    """Wait until the server has ended it, which it would not do this soon with its usual patience."""
    async with asyncio.timeout(AT_ONCE_SECONDS - 1):
        try:
            while await reader.read(65536):
                pass
        except ConnectionError:
            pass


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"),
        (GET, b"G"),
    ],
    ids=["silence", "half a header", "a header a moment", "a second request a byte a moment"],
)
async def test_slow_writers_are_cut_off(first: bytes, more: bytes) -> None:
    """Headers that come late, or without an end, are not waited for; the place is given back."""
    connections = Connections(10)
    async with serving(connections) as port:
        began = time.monotonic()
        reader, writer = await knock(port)
        writer.write(first)

        async def write() -> None:
            while True:
                writer.write(more)
                await asyncio.sleep(0.02)

        task = asyncio.create_task(write())
        await cut_off(reader)
        assert time.monotonic() - began > 0.2
        task.cancel()
        writer.close()
        assert len(connections) == 0


async def test_headers_have_a_size() -> None:
    """64 KiB of them are read, and more are refused."""
    async with serving(Connections(10)) as port:
        for size, status in ((60, b"200"), (70, b"400")):
            reader, writer = await knock(port)
            writer.write(GET[:-2] + b"X-A: " + b"x" * (size << 10))
            # What came by then is looked at as it is.
            await asyncio.sleep(0.1)
            writer.write(b"\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 " + status)
            writer.close()


@pytest.mark.usefixtures("quick")
async def test_slow_readers_are_cut_off() -> None:
    """A large answer that nobody takes is not kept; one that is taken slowly is finished."""
    connections = Connections(10)
    async with serving(connections) as port:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(raw, ("127.0.0.1", port))
        await loop.sock_sendall(raw, GET.replace(b"/ ", b"/large "))
        slow, writer = await knock(port)
        writer.write(GET.replace(b"/ ", b"/large "))
        got = 0
        async with asyncio.timeout(10):
            while got < LARGE:
                got += len(await slow.read(65536))
                await asyncio.sleep(0.01)
            writer.close()
            while len(connections):
                await asyncio.sleep(0.01)
        raw.close()


async def test_a_new_connection_takes_the_place_of_one_that_asks_for_nothing() -> None:
    """An address that fills its share with silence locks nobody out, not even its own neighbours."""
    connections = Connections(8)
    async with serving(connections) as port:
        silent = [await knock(port) for _ in range(20)]
        for _ in range(5):
            honest = await knock(port)
            assert (await answer(honest)).startswith(b"HTTP/1.1 200")
            honest[1].close()
        other = await knock(port, "127.0.0.2")
        assert (await answer(other)).startswith(b"HTTP/1.1 200")
        assert len(connections) <= 8
        assert connections.closed_idle >= 16
        assert connections.refused == 0
        for _, writer in [*silent, other]:
            writer.close()


async def test_a_full_house_is_said() -> None:
    """Sockets are not cut off: beyond an address's half a new one gets 503, others get in."""
    async with running(max_connections=10, rate_limit_per_minute=0, trusted_proxies="") as run:
        pages = await pages_of(run, 5)
        streams = await knock(run.port)
        head = await streams[0].readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 5" in head
        assert b'"busy"' in await streams[0].read()
        streams[1].close()
        other = await knock(run.port, "127.0.0.2")
        assert (await answer(other)).startswith(b"HTTP/1.1 200")
        other[1].close()
        assert metric(run, "connections_refused_total") == 1
        await pages.pop().close()
        async with http(run) as client:
            assert (await client.get("/health/live")).status_code == 200
        for page in pages:
            await page.ponged()
            await page.close()
    assert len(run.program.connections) == 0


async def test_a_refused_connection_leaves_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Malformed requests come in any number: nothing of one is kept once its client has gone."""
    loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    call_later = loop.call_later

    def noted(delay: float, *call: Any, **more: Any) -> asyncio.TimerHandle:
        timer = call_later(delay, *call, **more)
        if delay == protocols.CHECK_SECONDS:
            timers.append(timer)
        return timer

    monkeypatch.setattr(loop, "call_later", noted)
    async with serving(Connections(10)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"nonsense\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        async with at_once():
            while not all(timer.cancelled() for timer in timers):
                await asyncio.sleep(0.01)
    assert timers


async def test_a_proxy_has_no_share() -> None:
    """Everybody comes through it, so that it may have all places."""
    connections = Connections(6, [ip_network("127.0.0.1/32")])
    async with serving(connections) as port:
        streams = [await knock(port) for _ in range(6)]
        for one in streams:
            assert (await answer(one)).startswith(b"HTTP/1.1 200")
        assert (connections.closed_idle, len(connections)) == (0, 6)
        for _, writer in streams:
            writer.close()


async def test_tokens_are_still_had_under_a_flood_of_connections() -> None:
    """Two hundred silent connections of the same address, and a page gets its token at once."""
    async with running(max_connections=40, rate_limit_per_minute=0, trusted_proxies="") as run:
        flood = [await knock(run.port) for _ in range(200)]
        async with at_once():
            assert (await take_token(run))["token"]
        for _, writer in flood:
            writer.close()


async def test_clients_that_read_nothing_make_space() -> None:
    """Two addresses fill all connections with large answers that nobody reads; a third is served."""
    connections = Connections(8)
    async with serving(connections) as port:
        flood = [await knock(port, f"127.0.0.{2 + n % 2}") for n in range(8)]
        for reader, writer in flood:
            writer.write(GET.replace(b"/ ", b"/large "))
            await reader.readuntil(b"\r\n\r\n")
        honest = await knock(port)
        assert (await answer(honest)).startswith(b"HTTP/1.1 200")
        assert (connections.closed_idle, connections.refused) == (1, 0)
        for _, writer in [*flood, honest]:
            writer.close()


BODY = b"POST /api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
SOCKET = (
    b"GET /ws/abc HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
)


@pytest.mark.parametrize("said", [BODY, SOCKET], ids=["no body", "no token"])
async def test_requests_without_an_end_lock_nobody_out(said: bytes) -> None:
    """POSTs without a body and sockets without a token, of two addresses: others are served."""
    async with running(max_connections=40, rate_limit_per_minute=0, trusted_proxies="") as run:
        flood = []
        for n in range(80):
            one = await knock(run.port, f"127.0.0.{2 + n % 2}")
            one[1].write(said)
            flood.append(one)
        served = 0
        for _ in range(10):
            honest = await knock(run.port)
            served += (await answer(honest)).startswith(b"HTTP/1.1 200")
            honest[1].close()
        assert served == 10
        assert (await take_token(run))["token"]
        assert metric(run, "connections_refused_total") == 0
        assert metric(run, "connections_cut_off_total") >= 40
        for _, writer in flood:
            writer.close()


async def test_a_socket_with_its_token_is_no_flood() -> None:
    """Sockets that have shown theirs stay when others without one come and go."""
    async with running(max_connections=40, rate_limit_per_minute=0, trusted_proxies="") as run:
        pages = await pages_of(run, 8)
        flood = [await knock(run.port) for _ in range(10)]
        for _, writer in flood:
            writer.write(SOCKET)
        await asyncio.sleep(0.2)
        for page in pages:
            await page.ponged()
            await page.close()
        for _, writer in flood:
            writer.close()


LENGTHS = {
    "both": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both, the other way": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "chunks in 1.0": b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", LENGTHS)
async def test_a_length_told_twice_ends_the_connection(name: str) -> None:
    """Beside Transfer-Encoding (RFC 9112, 6.1): 400 in our form, and nothing after it counts."""
    async with running() as run:
        reader, writer = await knock(run.port)
        writer.write(LENGTHS[name] + GET)
        got = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                got = await reader.read()
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert b"connection: close" in head.lower()
        assert json.loads(body)["error"]["code"] == "bad_request"
        writer.close()


async def test_tls_handshakes_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends no TLS handshake, or half of one, is cut off; others are served."""
    assert serving_module.TLS_SECONDS == 10.0
    # As long as an honest handshake takes on a busy machine
    monkeypatch.setattr(serving_module, "TLS_SECONDS", 1.0)
    # Set from it for the whole process: put back afterwards.
    monkeypatch.setattr("asyncio.constants.SSL_HANDSHAKE_TIMEOUT", 1.0)
    async with running_https(tmp_path) as (run, _):
        half = [await knock(run.port) for _ in range(3)]
        for (_, writer), said in zip(
            half, (b"", b"\x16\x03\x01\x02\x00\x01\x00", GET), strict=True
        ):
            writer.write(said)
        assert (await request("GET", f"{run.base_url}/health/live")).status == 200
        for reader, writer in half:
            await cut_off(reader)
            writer.close()


async def test_stopping_waits_for_no_idle_client(tmp_path: Path) -> None:
    """Closing TLS waits for the other end's goodbye, which a phone that sleeps never sends."""

    def idle(port: int, authority: Path) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=authority)
        one = context.wrap_socket(
            socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1"
        )
        one.sendall(GET)
        assert one.recv(12) == b"HTTP/1.1 200"
        return one

    async with running_https(tmp_path) as (run, issued):
        with await asyncio.to_thread(idle, run.port, issued.authority):
            run.server.should_exit = True
            # asyncio's TLS would wait 30 s for the other end.
            async with at_once():
                while run.server.server_state.connections:
                    await asyncio.sleep(0.01)

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
from typing import Any, cast

import pytest
from starlette.types import Receive, Scope, Send

from scripts.bench.http_json import request
from server.web import protocols
from server.web import serving as serving_module
from server.web.protocols import Connections, HttpProtocol
from server.web.serving import uvicorn_config
from tests.support.clients import Page, http, metric, open_page, take_token
from tests.support.running import Running, running, running_https, served
from tests.support.timing import AT_ONCE_SECONDS, at_once

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 4 << 20


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """A small answer, or a large one for /large."""
    if scope["type"] != "http":
        return
    body = b"x" * (LARGE if scope["path"] == "/large" else 2)
    length = str(len(body)).encode()
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]}
    )
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(connections: Connections, app: Any = answering) -> AsyncIterator[int]:
    """The port of a server of `app`."""
    config = uvicorn_config(app, host="127.0.0.1", port=0, connections=connections)
    config.lifespan = "off"
    async with served(config) as (_, port):
        yield port


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience of tenths of a second."""
    assert (protocols.HEADER_SECONDS, protocols.TAKE_SECONDS) == (10.0, 15.0)
    monkeypatch.setattr(protocols, "HEADER_SECONDS", 0.3)
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
        issued = run.program.tokens.issue(f"s{n}")
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


class Waiting:
    """An application whose answer waits until its client has left, or it may end."""

    def __init__(self) -> None:
        self.read = asyncio.Event()
        self.may_end = asyncio.Event()
        self.left = asyncio.Event()
        self.served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.read.set()
        leaves = asyncio.create_task(self._leaves(receive))
        ends = asyncio.create_task(self.may_end.wait())
        await asyncio.wait((leaves, ends), return_when=asyncio.FIRST_COMPLETED)
        for task in (leaves, ends):
            task.cancel()
        if not self.left.is_set():
            self.served += 1
            await answering(scope, receive, send)

    async def _leaves(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (GET, b""),
        (GET + GET, b""),
        (GET, GET),
        (GET + GET[:9], GET[9:]),
        (GET, GET * 3),
        (GET, b"x" * protocols.MAX_HEADERS),
    ],
    ids=["nothing", "with it", "behind it", "half and half", "several", "no request"],
)
async def test_who_leaves_is_missed_whatever_came_behind(before: bytes, behind: bytes) -> None:
    """A client sends its request, further bytes behind it, and leaves while its answer is made."""
    app = Waiting()
    async with serving(Connections(10), app) as port, asyncio.timeout(5):
        _, writer = await knock(port)
        writer.write(before)
        await app.read.wait()
        writer.write(behind)
        writer.close()
        await app.left.wait()


async def test_requests_that_come_behind_are_answered_in_turn() -> None:
    app = Waiting()
    async with serving(Connections(10), app) as port, asyncio.timeout(5):
        reader, writer = await knock(port)
        writer.write(GET)
        await app.read.wait()
        writer.write(GET * 5)
        app.may_end.set()
        for _ in range(6):
            assert (await reader.readuntil(b"xx")).startswith(b"HTTP/1.1 200")
        assert app.served == 6
        assert not app.left.is_set()
        writer.close()


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


async def test_a_flood_behind_a_request_ends_the_connection() -> None:
    """No more of it is kept than of a request's headers and one read."""
    app = Waiting()
    connections = Connections(10)
    async with serving(connections, app) as port, asyncio.timeout(5):
        reader, writer = await knock(port)
        writer.write(GET)
        await app.read.wait()
        writer.write(b"x" * (1 << 20))
        await app.left.wait()
        await cut_off(reader)
        assert len(connections) == 0
        writer.close()


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


BODY = b"POST /api/token HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n"
SOCKET = (
    b"GET /ws/abc HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
)


@pytest.mark.parametrize("said", [BODY, SOCKET], ids=["no body", "no token"])
async def test_requests_without_an_end_lock_nobody_out(said: bytes) -> None:
    """POSTs without a body and sockets without a token, of two addresses: others are served."""
    async with running(max_connections=40, rate_limit_per_minute=0, trusted_proxies="") as run:
        flood = []
        for n in range(40):
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
        assert metric(run, "connections_unproven_cut_off_total") >= 30
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
    "with an upgrade": SOCKET[:-2] + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("name", LENGTHS)
async def test_a_length_told_twice_ends_the_connection(name: str) -> None:
    """Beside Transfer-Encoding (RFC 9112, 6.1): 400 in our form, and nothing after it counts."""
    async with serving(Connections(10)) as port:
        reader, writer = await knock(port)
        writer.write(LENGTHS[name] + GET)
        got = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(5):
                got = await reader.read()
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400")
        assert b"Connection: close" in head
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


# The bounds on connections: which one is closed for another, and the count of each host.


class Transport:
    """A stand-in for a transport and the HTTP connection on it."""

    def __init__(self, host: str, *, evictable: bool = False, since: float = 0.0) -> None:
        self.host, self.evictable, self.waiting_since = host, evictable, since
        self.aborted = False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return self.host, 1234

    def abort(self) -> None:
        self.aborted = True


def opened(connections: Connections, one: Transport) -> bool:
    return connections.opened(one, cast("HttpProtocol", one))


def knocking(connections: Connections, *hosts: str) -> list[Transport]:
    """Connections of these hosts, one after the other, that have proven nothing."""
    made = [Transport(host) for host in hosts]
    for one in made:
        assert opened(connections, one)
        connections.unproven(one)
    return made


def test_unproven_ones_have_a_share_of_their_own() -> None:
    """Eighty places, ten for unended requests and sockets without a token; the oldest goes."""
    connections = Connections(80)
    pending = knocking(connections, *(f"192.0.2.{n}" for n in range(15)))
    # Said once more of one, it is one.
    connections.unproven(pending[-1])
    assert [one.aborted for one in pending] == [True] * 5 + [False] * 10
    assert (connections.closed_unproven, connections.refused, len(connections)) == (5, 0, 10)


def test_an_address_has_a_quarter_of_that_share() -> None:
    """Those of one address make room for its own newer ones, not those of others."""
    connections = Connections(160)
    (other,) = knocking(connections, "192.0.2.9")
    mine = knocking(connections, *["192.0.2.1"] * 8)
    assert not other.aborted
    assert [one.aborted for one in mine] == [True] * 3 + [False] * 5


def test_the_address_with_the_most_makes_room() -> None:
    """An honest one that is older than all of a flood's stays."""
    connections = Connections(80)
    (honest,) = knocking(connections, "192.0.2.200")
    flood = knocking(connections, *(f"192.0.2.{n % 6}" for n in range(60)))
    assert not honest.aborted
    assert sum(not one.aborted for one in flood) == 9


def test_a_proven_one_is_left_alone() -> None:
    """A whole request and a token that is good take a connection out of that share."""
    connections = Connections(16)
    first = Transport("192.0.2.1")
    opened(connections, first)
    connections.upgraded(first)
    connections.proven(first)
    connections.proven(first)
    knocking(connections, *["192.0.2.1"] * 10)
    assert not first.aborted


def test_unproven_ones_make_room_before_idle_ones() -> None:
    """With all places taken; then the one that has waited longest, and one that works never."""
    connections = Connections(4)
    works = Transport("192.0.2.1")
    young = Transport("192.0.2.2", evictable=True, since=8.0)
    old = Transport("192.0.2.3", evictable=True, since=7.0)
    pending = Transport("192.0.2.4")
    for one in (works, young, old, pending):
        assert opened(connections, one)
    connections.unproven(pending)
    late = [Transport(f"192.0.2.{n}") for n in range(5, 9)]
    assert [opened(connections, one) for one in late] == [True, True, True, False]
    assert [one.aborted for one in (works, young, old, pending)] == [False, True, True, True]
    assert connections.refused == 1


def test_a_proxy_has_no_share_of_an_address() -> None:
    """All of its clients come from it: only the share of all holds."""
    connections = Connections(160, [ip_network("192.0.2.1/32")])
    through = knocking(connections, *["192.0.2.1"] * 30)
    assert sum(one.aborted for one in through) == 10


def test_nothing_is_kept_of_what_is_gone() -> None:
    connections = Connections(10)
    for n in range(100):
        (one,) = knocking(connections, f"192.0.2.{n}")
        connections.lost(one)
        connections.lost(one)
    assert len(connections) == 0
    assert not connections._unproven
    assert not connections._unproven_by_address
    assert not connections._by_address

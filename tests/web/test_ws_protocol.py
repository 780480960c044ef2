"""A WebSocket's bounds: its close code reaches readers, others are cut off, frames are numbered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server.web import protocols
from server.web.protocols import Connections
from server.web.serving import make_uvicorn_config
from tests.support.listening_child import child, listening
from tests.support.running import served


async def too_much(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, writes more than the client takes, gives up on that and closes with 4429."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    with suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            while True:
                await send({"type": "websocket.send", "text": "x" * 60_000})
    await send({"type": "websocket.close", "code": 4429, "reason": "too slow"})


async def writing(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts and writes for ever, whether it is read or not."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    with suppress(OSError, ClientDisconnected):
        while True:
            await send({"type": "websocket.send", "text": "x" * 60_000})


async def echoing(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts and says again what it hears."""
    if scope["type"] != "websocket":
        return
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"]})


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[uvicorn.Server]:
    config = make_uvicorn_config(app, host="127.0.0.1", port=0, connections=Connections(10))
    config.lifespan = "off"
    async with served(config) as (server, _):
        yield server


async def closed(client: ClientConnection) -> int | None:
    """The code that the socket is closed with; what comes before it is read."""
    async with asyncio.timeout(5):
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code


def port_of(server: uvicorn.Server) -> int:
    port = server.servers[0].sockets[0].getsockname()[1]
    assert isinstance(port, int)
    return port


def uri_of(server: uvicorn.Server) -> str:
    return f"ws://127.0.0.1:{port_of(server)}/"


@asynccontextmanager
async def slow_client() -> AsyncIterator[tuple[uvicorn.Server, ClientConnection]]:
    """A server of `too_much` and a client with a small window that has not read anything yet."""
    async with serving(too_much) as server:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        address = ("127.0.0.1", port_of(server))
        await asyncio.get_running_loop().sock_connect(raw, address)
        uri = uri_of(server)
        async with connect(uri, sock=raw, max_queue=1, compression=None, proxy=None) as client:
            yield server, client
            client.transport.abort()


async def test_the_code_waits_behind_what_was_sent() -> None:
    """A client that reads again finds the reason, though it had not read all when that came."""
    async with slow_client() as (server, client):
        connection = next(iter(server.server_state.connections))
        while not connection.close_sent:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        assert connection.transport.get_write_buffer_size() > 0
        assert await closed(client) == 4429


async def test_who_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection and what waited for it are given back."""
    monkeypatch.setattr(protocols, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(protocols, "CHECK_SECONDS", 0.05)
    async with slow_client() as (server, client):
        async with asyncio.timeout(5):
            while server.server_state.connections or server.server_state.tasks:
                await asyncio.sleep(0.01)
        assert await closed(client) == 1006


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    return bytes([opcode | (0x80 if fin else 0), 0x80 | len(payload)]) + bytes(4) + payload


PING, PONG, TEXT, PIECE = 9, 10, 1, 0
FLOODS = {
    "pings": ([], frame(PING, b"x" * 125)),
    "empty pings": ([], frame(PING)),
    "pongs": ([], frame(PONG, b"x" * 125)),
    "pieces of nothing": ([frame(TEXT, fin=False)], frame(PIECE, fin=False)),
    "empty messages": ([], frame(TEXT)),
}


def opened(port: int) -> socket.socket:
    """A WebSocket with a small window, which nobody reads."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.settimeout(5)
    raw.connect(("127.0.0.1", port))
    raw.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==\r\n\r\n"
    )
    assert raw.recv(12) == b"HTTP/1.1 101"
    return raw


@pytest.mark.parametrize("name", FLOODS)
def test_frames_without_end_are_not_kept(name: str) -> None:
    """A client that sends frames without end and reads nothing is cut off; memory does not grow."""
    first, more = FLOODS[name]
    with child() as server, opened(server.port) as raw:
        before = server.mib()
        raw.sendall(b"".join(first))
        sent, chunk = 0, more * 2000
        with suppress(ConnectionError):
            while sent < 64 << 20:
                sent += raw.send(chunk)
        assert sent < 64 << 20
        assert server.mib() - before < 8
        assert server.work() < 0.25


async def wait_for_frames(server: uvicorn.Server) -> protocols.WebSocketProtocol:
    connection = next(iter(server.server_state.connections))
    assert isinstance(connection, protocols.WebSocketProtocol)
    return connection


async def test_who_reads_nothing_is_gone_after_the_keepalive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages for a client that answers no ping are dropped after the keepalive."""
    monkeypatch.setattr(protocols, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(protocols, "CHECK_SECONDS", 0.05)
    async with serving(writing) as server:
        server.config.ws_ping_interval = server.config.ws_ping_timeout = 0.2
        raw = await asyncio.to_thread(opened, port_of(server))
        connection = await wait_for_frames(server)
        async with asyncio.timeout(5):
            while not connection.transport.get_write_buffer_size():
                await asyncio.sleep(0.01)
            while server.server_state.connections or server.server_state.tasks:
                await asyncio.sleep(0.01)
        raw.close()


async def test_a_message_has_so_many_pieces_at_most() -> None:
    """A piece a moment stays below every rate, and is kept all the same."""
    async with serving(listening) as server, connect(uri_of(server), proxy=None) as client:
        with suppress(ConnectionClosed):
            await client.send(["x"] * (protocols.MAX_FRAGMENTS + 10))
        assert await closed(client) == 4429


async def test_pings_between_its_pieces_make_room_for_no_more_of_them() -> None:
    """Control frames may stand inside of a message and begin none: the count of its pieces goes on."""
    async with serving(listening) as server, connect(uri_of(server), proxy=None) as client:
        pieces = frame(PIECE, b"x", fin=False) * 100 + frame(PING)
        client.transport.write(frame(TEXT, b"x", fin=False) + pieces * 3)
        assert await closed(client) == 4429


async def test_a_large_message_in_pieces_is_taken() -> None:
    """A client may send what a message may have in pieces of its own size."""
    async with serving(echoing) as server, connect(uri_of(server), proxy=None) as client:
        await client.send(["x" * 300] * 200)
        assert await client.recv() == "x" * 60_000


async def test_what_is_no_text_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """Bytes that are no UTF-8 end a socket with 1007, and no line of the log is spent on them."""
    async with serving(listening) as server, connect(uri_of(server), proxy=None) as client:
        await client.send(b"\xff\xfe", text=True)
        assert await closed(client) == 1007
    assert [r for r in caplog.records if r.name == "uvicorn.error" and r.levelname == "ERROR"] == []

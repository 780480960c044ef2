"""The end of a WebSocket: the close code reaches who reads, and who does not read is cut off."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from server import ws_protocol
from server.serving import uvicorn_config


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


@asynccontextmanager
async def slow_client() -> AsyncIterator[tuple[uvicorn.Server, ClientConnection]]:
    """A server of `too_much` and a client with a small window that has not read anything yet."""
    server = uvicorn.Server(uvicorn_config(too_much, host="127.0.0.1", port=0))
    server.config.lifespan = "off"
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
        uri = f"ws://127.0.0.1:{port}/"
        async with connect(uri, sock=raw, max_queue=1, compression=None, proxy=None) as client:
            yield server, client
            client.transport.abort()
    finally:
        server.should_exit = True
        await task


async def test_the_code_waits_behind_what_was_sent() -> None:
    """A client that begins to read again finds the reason, although it had not read all when it was written."""
    async with slow_client() as (server, client):
        connection = next(iter(server.server_state.connections))
        while not connection.close_sent:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        assert connection.transport.get_write_buffer_size() > 0
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
        assert client.close_code == 4429


async def test_who_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection and what waited for it are given back."""
    monkeypatch.setattr(ws_protocol, "CLOSE_SECONDS", 0.2)
    async with slow_client() as (server, client):
        async with asyncio.timeout(5):
            while server.server_state.connections or server.server_state.tasks:
                await asyncio.sleep(0.01)
        with suppress(ConnectionClosed):
            while True:
                await client.recv()
        assert client.close_code == 1006

"""The bounds of one exchange over a model server's WebSocket."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from server.shared.speech.bounded_socket import BoundedSocket, SocketBounds
from server.shared.speech.errors import SpeechFailed
from server.shared.speech.speech_server import Refusals


@pytest.mark.parametrize(
    ("message", "bounds", "taken", "why"),
    [
        (b"\0" * 1000, SocketBounds(1000, 5, 100_000), 5, "more than 5 messages"),
        (b"\0" * 1000, SocketBounds(1000, 100, 5000), 5, "more than 5,000 bytes"),
        # However small it is, a message costs time.
        (b"", SocketBounds(1000, 100, 320), 5, "more than 320 bytes"),
    ],
)
async def test_a_server_without_an_end_is_left(
    message: bytes, bounds: SocketBounds, taken: int, why: str
) -> None:
    """As soon as it has sent more messages, or more bytes, than the bounds allow."""

    async def endless(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            while True:
                await socket.send(message)
                await asyncio.sleep(0)

    async with serve(endless, "127.0.0.1", 0) as server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        refusals = Refusals("speech server", "SPEECH", address, "/sound")
        socket = BoundedSocket(refusals, "", 10.0, bounds)
        async with socket.opened() as exchange:
            for _ in range(taken):
                assert await exchange.next() == message
            with pytest.raises(SpeechFailed, match=why):
                await exchange.next()

"""uvicorn's WebSocket connection with an end in time: a client that does not read can not hold it open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

# What a client has to take what was sent, the close code after it included, and to answer with its own.
CLOSE_SECONDS = 10.0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn would wait until the client has read everything before it even writes the close frame, and for ever."""

    # Told of the transport once it is gone; set by `protocol_class`.
    on_lost: Callable[[Any], object] = staticmethod(lambda transport: None)

    # None until the end was asked for, and again once it came.
    _deadline: asyncio.TimerHandle | None = None

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "websocket.close" and self._deadline is None:
            self._deadline = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)
            # One small frame more behind what waits already.
            self.writable.set()
        await super().send(message)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.on_lost(self.transport)
        super().connection_lost(exc)


def protocol_class(on_lost: Callable[[Any], object]) -> type[WebSocketProtocol]:
    """For uvicorn, which makes one of it for each connection."""
    return type(
        "CountedWebSocketProtocol", (WebSocketProtocol,), {"on_lost": staticmethod(on_lost)}
    )

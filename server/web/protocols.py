"""Limits on the process's connections, in addition to uvicorn's protocols.

uvicorn has no time limit for request headers, for reading a response, or for closing, and no limit on a
WebSocket's frames. `tests/project/test_dependencies.py` fails if uvicorn's classes change.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.server import ServerProtocol

from server.core.addresses import UNKNOWN, Network, get_limiter_key, is_trusted
from server.core.aio import Bucket, Timer
from server.core.errors import Busy, SocketCloseCode
from server.core.messages import make_error_body

# An address may have at most 1/ADDRESS_PART of all connections.
ADDRESS_PART = 2
# Time limit for request headers and for closing a WebSocket; `middleware.BODY_SECONDS` is the limit for bodies
WAIT_SECONDS = 10.0
# Time limit within which a client must read a part of its response
TAKE_SECONDS = 15.0
# Interval between checks of a connection
CHECK_SECONDS = 2.0
# Frames a second, and their burst. `websocket.MESSAGE_RATE` is a stricter limit on messages, with an
# error; this limit also includes control frames, fragments, and many frames in one packet.
FRAME_RATE, FRAME_BURST = 128.0, 1024
# Maximum fragments of a message
MAX_FRAGMENTS = 256
_FULL_BODY = json.dumps(
    make_error_body(Busy("Too many connections are open. Try again in a moment.", retry_after=5))
).encode()
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    b"Retry-After: 5\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
) % (len(_FULL_BODY), _FULL_BODY)


class Connections:
    """All connections of the process, WebSockets included.

    Trusted proxies have no limit per address, because all clients connect through them.

    Bounds of connections: MAX_CONNECTIONS, half of them per address; beyond, a new connection replaces the oldest
    connection without a complete request, a token or a client that reads, from the address with the most
    connections; if there is none, the new connection is refused.
    """

    def __init__(self, most: int, trusted_proxies: Sequence[Network] = ()) -> None:
        self._most = most
        self._trusted = tuple(trusted_proxies)
        # Limiter key of the client's address by transport, oldest first; None for a proxy
        self._open: dict[asyncio.Transport, str | None] = {}
        self.refused = 0
        self.closed_idle = 0
        # WebSockets closed for too many frames
        self.flooded = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: asyncio.Transport) -> bool:
        """Add a new connection, which replaces an idle one if the limit is reached. Return False to refuse it."""
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else None
        key = None if is_trusted(host, self._trusted) else get_limiter_key(host or UNKNOWN)
        counts = Counter(self._open.values())
        crowded = key is not None and counts[key] >= max(1, self._most // ADDRESS_PART)
        if crowded or len(self._open) >= self._most:
            idle = [
                one
                for one, of in self._open.items()
                if (of == key or not crowded) and _is_idle(one)
            ]
            oldest = max(idle, key=lambda one: counts[self._open[one]], default=None)
            if oldest is None:
                self.refused += 1
                return False
            self.closed_idle += 1
            self.remove(oldest)
            oldest.abort()
        self._open[transport] = key
        return True

    def remove(self, transport: asyncio.Transport) -> None:
        """Remove a closed connection. Safe to call again."""
        self._open.pop(transport, None)


def _is_idle(transport: asyncio.Transport) -> bool:
    protocol = transport.get_protocol()
    return isinstance(protocol, _TimedProtocol) and protocol.idle


class _TimedProtocol(asyncio.Protocol):
    """The limits that HTTP and WebSocket share. `make_protocol_classes` sets `limits`."""

    limits: Connections
    transport: asyncio.Transport

    # The last result of `pending`, and the monotonic time since which it is unchanged
    _pending: object = None
    _since = 0.0

    @property
    def idle(self) -> bool:
        """True if it may be closed in favour of a new connection."""
        raise NotImplementedError

    def pending(self) -> int | None:
        """Return the state that the client must change in time: count of unread bytes, 0 if it must send, else None."""
        raise NotImplementedError

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._timer = Timer()
        self._check()

    def _check(self) -> None:
        pending, now = self.pending(), time.monotonic()
        if pending is None or pending != self._pending:
            self._pending, self._since = pending, now
        elif now - self._since >= (TAKE_SECONDS if pending else WAIT_SECONDS):
            self.transport.abort()
            return
        self._timer.set(CHECK_SECONDS, self._check)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self.limits.remove(self.transport)
        super().connection_lost(exc)


class HttpProtocol(_TimedProtocol, H11Protocol):
    """One connection until it becomes a WebSocket."""

    @property
    def _waiting(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def idle(self) -> bool:
        unread = self.transport.get_write_buffer_size() > 0
        return self._waiting or self.cycle.more_body or unread

    def pending(self) -> int | None:
        unread = self.transport.get_write_buffer_size()
        return unread or (0 if self._waiting else None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if not self.limits.add(self.transport):
            self.transport.write(_FULL)
            self.transport.close()

    def on_response_complete(self) -> None:
        self._since = time.monotonic()
        super().on_response_complete()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._timer.cancel()
        super().handle_websocket_upgrade(event)

    def shutdown(self) -> None:
        if self.pending() == 0:
            # TLS would wait for close_notify, which a sleeping client never sends.
            self.transport.abort()
        else:
            super().shutdown()


class BoundedFrames(ServerProtocol):
    """Parser of one connection's frames, which counts each frame before storing or answering it.

    Bounds of frames of a socket before the application gets them: 1,024 at once, 128 a second, 256
    fragments per message; beyond, the socket closes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._frames = Bucket(FRAME_RATE, FRAME_BURST, time.monotonic())
        self._fragments = 0

    @property
    def flooded(self) -> bool:
        """True if the connection was closed because of too many frames."""
        return self._frames.refused > 0 or self._fragments > MAX_FRAGMENTS

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            # Control frames may come between fragments (RFC 6455, 5.4).
            self._fragments = 0
        if not self._frames.take(time.monotonic()) or self._fragments > MAX_FRAGMENTS:
            self.fail(SocketCloseCode.TOO_MANY, "too many frames")
            # This stops the parser, so that the rest of the data is not read.
            raise ProtocolError("too many frames")
        super().recv_frame(frame)


class WebSocketProtocol(_TimedProtocol, WebSocketsSansIOProtocol):
    """One WebSocket. The application sets `state.proven` once its client has a valid token."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn: BoundedFrames = BoundedFrames(
            max_size=self.config.ws_max_size, logger=self.logger
        )

    @property
    def idle(self) -> bool:
        return self.pending() == 0 or not self.scope["state"].get("proven")

    def pending(self) -> int | None:
        ends = self.close_sent or self.transport.is_closing()
        return 0 if ends or not self.handshake_complete else None

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            # Send the small close frame without waiting for the buffer.
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # uvicorn would log an error for each refused upgrade.
            self.handshake_complete = True

    def handle_parser_exception(self) -> None:
        self.limits.flooded += self.conn.flooded
        super().handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            # uvicorn would log a traceback for each message that is not UTF-8.
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()


def make_protocol_classes(
    limits: Connections,
) -> tuple[type[HttpProtocol], type[WebSocketProtocol]]:
    """Return protocol classes with these limits for uvicorn, which instantiates one per connection."""
    return (
        type("LimitedHttpProtocol", (HttpProtocol,), {"limits": limits}),
        type("LimitedWebSocketProtocol", (WebSocketProtocol,), {"limits": limits}),
    )

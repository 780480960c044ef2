"""The process's connections: their number and time limits, on top of uvicorn's classes.

uvicorn waits forever for a request's headers, and for a client to read its response; it does not notice
that a client leaves which has sent more than its request. It answers pings whether or not the client reads,
and keeps fragments without number. `tests/project/test_dependencies.py` fails when its classes change.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from server.core.addresses import UNKNOWN, Network, is_trusted, limiter_key
from server.core.aio import Bucket, Timer
from server.core.errors import BadRequest, Busy, Close, QwenCameraError
from server.core.messages import error_body

# An address may have 1/ADDRESS_PART of all connections, so that others keep their share.
ADDRESS_PART = 2
# 1/8 of all connections may be unproven, and 1/4 of those may come from one address.
UNPROVEN_PART, UNPROVEN_ADDRESS_PART = 8, 4
# The extension of a WebSocket's scope whose `tell` reports that its client has a valid token.
PROVEN = "qwen_camera.proven"


@dataclass(slots=True)
class _Open:
    # Limiter key of the client's address; None for a proxy
    key: str | None
    # None once it is a WebSocket
    protocol: HttpProtocol | None


class Connections:
    """All connections of the process, WebSockets included: at most `most`, half of them from one
    address.

    Unproven connections have an incomplete request, or are sockets without a token. They have a
    share of their own, beyond which the oldest one of the address with the most is closed. When all
    connections are in use, an unproven one is closed first, then the one that has waited longest
    without a request; without such a one, the new one is refused. Our proxies have no limit per
    address, because all clients come through them.

    Bounds of connections: MAX_CONNECTIONS, half of them per address; an eighth without a whole
    request or a token, of which the oldest is closed; then the one longest without a request is
    closed, else the new one is refused.
    """

    def __init__(self, most: int, trusted_proxies: Sequence[Network] = ()) -> None:
        self._most = most
        self._trusted = tuple(trusted_proxies)
        # By transport, oldest first
        self._open: dict[Any, _Open] = {}
        self._by_address: Counter[str | None] = Counter()
        # Unproven ones by transport, oldest first, to their addresses
        self._unproven: dict[Any, str | None] = {}
        self._unproven_by_address: Counter[str | None] = Counter()
        self.refused = 0
        self.closed_idle = 0
        self.closed_unproven = 0
        # WebSockets closed for too many frames
        self.flooded = 0

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, transport: Any, protocol: HttpProtocol) -> bool:
        """Accept a new connection; False when it has to be refused."""
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else None
        key = None if is_trusted(host, self._trusted) else limiter_key(host or UNKNOWN)
        share = max(1, self._most // ADDRESS_PART)
        if key is not None and self._by_address[key] >= share and not self._make_space(key):
            self.refused += 1
            return False
        if len(self._open) >= self._most and not self._make_space(None):
            self.refused += 1
            return False
        self._open[transport] = _Open(key, protocol)
        self._by_address[key] += 1
        return True

    def upgraded(self, transport: Any) -> None:
        """Note that it is a WebSocket now, without a token yet."""
        if transport in self._open:
            self._open[transport].protocol = None
            self.unproven(transport)

    def unproven(self, transport: Any) -> None:
        """Note the beginning of a request. Safe to call again."""
        entry = self._open.get(transport)
        if entry is None or transport in self._unproven:
            return
        self._unproven[transport] = entry.key
        self._unproven_by_address[entry.key] += 1
        share = max(2, self._most // UNPROVEN_PART)
        of_address = max(1, share // UNPROVEN_ADDRESS_PART)
        if entry.key is not None and self._unproven_by_address[entry.key] > of_address:
            self._evict_unproven(entry.key)
        elif len(self._unproven) > share:
            self._evict_unproven(self._unproven_by_address.most_common(1)[0][0])

    def proven(self, transport: Any) -> None:
        """Note a complete request, or a valid token. Safe to call again."""
        if transport in self._unproven:
            _take_one(self._unproven_by_address, self._unproven.pop(transport))

    def lost(self, transport: Any) -> None:
        """Remove a closed connection. Safe to call again."""
        self.proven(transport)
        entry = self._open.pop(transport, None)
        if entry is not None:
            _take_one(self._by_address, entry.key)

    def _make_space(self, key: str | None) -> bool:
        """Close one connection of an address, or of all (None); False when none can be closed."""
        if any(key is None or of == key for of in self._unproven.values()):
            self._evict_unproven(
                self._unproven_by_address.most_common(1)[0][0] if key is None else key
            )
            return True
        waiting = [
            (entry.protocol.waiting_since, transport)
            for transport, entry in self._open.items()
            if entry.protocol is not None
            and (key is None or entry.key == key)
            and entry.protocol.evictable
        ]
        if not waiting:
            return False
        _, transport = min(waiting, key=lambda one: one[0])
        self.closed_idle += 1
        self._evict(transport)
        return True

    def _evict_unproven(self, key: str | None) -> None:
        self.closed_unproven += 1
        self._evict(next(one for one, of in self._unproven.items() if of == key))

    def _evict(self, transport: Any) -> None:
        self.lost(transport)
        transport.abort()


def _take_one(counts: Counter[str | None], key: str | None) -> None:
    counts[key] -= 1
    if not counts[key]:
        del counts[key]


# Bytes of a request's line and headers, like uvicorn's limit; and those behind a request that is being answered.
MAX_HEADERS = 64 * 1024
# Time for a request's headers; bodies have `http_guard.BODY_SECONDS`.
HEADER_SECONDS = 10.0
# Time in which a client has to read some of its response.
TAKE_SECONDS = 15.0
# Time for an idle client to end its TLS when the server stops.
GOODBYE_SECONDS = 0.3
# Interval at which a connection is checked.
CHECK_SECONDS = 2.0


class WholeRequests(h11.Connection):
    """Refuses a request with two lengths (RFC 9112, 6.1): a proxy may have used the other one."""

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        event = super().next_event()
        if isinstance(event, h11.Request):
            names = {name.lower() for name, _ in event.headers}
            if b"transfer-encoding" in names and (
                b"content-length" in names or event.http_version < b"1.1"
            ):
                raise h11.RemoteProtocolError("Two lengths")
        return event


class HttpProtocol(H11Protocol):
    """One connection. `protocol_classes` sets `limits`.

    Bounds of bytes behind a request that is being answered: 64 KiB and one read; beyond, the
    connection ends. The others wait for their turn.
    """

    limits: Connections

    # Monotonic time since which the client may send a request.
    waiting_since = 0.0
    # Bytes that the client has not read, and the time since which it has read none.
    _untaken = 0
    _untaken_since = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = WholeRequests(h11.SERVER, MAX_HEADERS)
        # Of the next check, while it is connected and no WebSocket
        self._timer = Timer()

    @property
    def waiting(self) -> bool:
        """True while no request is being handled."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def evictable(self) -> bool:
        """True while it waits for a request, or for the client to read a response."""
        return self.waiting or self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.waiting_since = time.monotonic()
        if self.limits.opened(self.transport, self):
            self._timer.set(CHECK_SECONDS, self._check)
        else:
            self._refuse()

    def _refuse(self) -> None:
        error = Busy("Too many connections are open. Try again in a moment.", retry_after=5)
        self._end_with("503 Service Unavailable", error, "Retry-After: 5\r\n")

    def send_400_response(self, msg: str) -> None:
        """Answer malformed HTTP with our error form."""
        self._end_with(
            "400 Bad Request",
            BadRequest(
                "This request is not valid HTTP/1.1, or gives its length twice (Content-Length and Transfer-Encoding)."
                " Send it again in one form."
            ),
        )

    def _end_with(self, status: str, error: QwenCameraError, more: str = "") -> None:
        body = json.dumps(error_body(error)).encode()
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
            f"{more}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        # Read nothing more, and do not wait for the client.
        self._timer.set(CHECK_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.transport.get_protocol() is self:
            # Otherwise it is a WebSocket now.
            self._count()

    def handle_events(self) -> None:
        """Go on to read behind a request that is being answered, because its client may leave.

        uvicorn stops reading at further bytes, and then hears of nothing. Only a bounded number of them
        is kept.
        """
        super().handle_events()
        if self.transport.is_closing() or self.waiting or self.cycle.more_body:
            return
        behind, _ = self.conn.trailing_data
        if len(behind) > MAX_HEADERS:
            self.transport.abort()
        else:
            self.flow.resume_reading()

    def _count(self) -> None:
        if not self.waiting and self.cycle.more_body:
            self.limits.unproven(self.transport)
        else:
            self.limits.proven(self.transport)

    def shutdown(self) -> None:
        """Close an idle connection, because the server stops."""
        idle = self.waiting and not self.transport.get_write_buffer_size()
        super().shutdown()
        if idle:
            # TLS waits for the client's close_notify, which a sleeping client never sends.
            self._timer.set(GOODBYE_SECONDS, self.transport.abort)

    def on_response_complete(self) -> None:
        self.waiting_since = time.monotonic()
        super().on_response_complete()
        if not self.transport.is_closing():
            self._count()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._timer.cancel()
        self.limits.upgraded(self.transport)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self.limits.lost(self.transport)
        super().connection_lost(exc)

    def _check(self) -> None:
        now = time.monotonic()
        self._timer.set(CHECK_SECONDS, self._check)
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._untaken_since = untaken, now
        elif now - self._untaken_since >= TAKE_SECONDS:
            self.transport.abort()
            return
        if self.waiting and not untaken and now - self.waiting_since >= HEADER_SECONDS:
            self.transport.abort()


# uvicorn's WebSocket connection, bounded in time and in frames.

# Time for a client to read the sent data and the close code, and to answer with its own.
CLOSE_SECONDS = 10.0
# Frames that a client may send a second over time, and at once. The application has tighter bounds
# for messages, with words (`websocket.MESSAGE_RATE`); these hold for what never reaches it,
# and for many frames in one packet.
FRAME_RATE, FRAME_BURST = 128.0, 1024
# Pings and pongs; browsers send no pings, and others one in many seconds.
CONTROL_RATE, CONTROL_BURST = 8.0, 64
# Pieces of one message.
MAX_FRAGMENTS = 256


class BoundedFrames(ServerProtocol):
    """The frames of one connection: each is counted before it is kept or answered.

    Bounds of frames of a socket before the application has them: 1,024 at once, 128 a second, 256
    fragments per message; beyond, the socket closes.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        now = time.monotonic()
        self._frames = Bucket(FRAME_RATE, FRAME_BURST, now)
        self._control = Bucket(CONTROL_RATE, CONTROL_BURST, now)
        self._fragments = 0
        # True when the connection was closed for too many frames
        self.flooded = False

    def recv_frame(self, frame: Frame) -> None:
        now = time.monotonic()
        if frame.opcode is Opcode.CONT:
            self._fragments += 1
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            # Control frames may stand between the pieces of a message (RFC 6455, 5.4).
            self._fragments = 0
        within = self._frames.take(now)
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            within = self._control.take(now) and within
        if not within or self._fragments > MAX_FRAGMENTS:
            self.flooded = True
            self.fail(Close.TOO_MANY, "too many frames")
            # Ends the parser, which reads nothing of what else came.
            raise ProtocolError("too many frames")
        super().recv_frame(frame)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection. `protocol_classes` sets `limits`."""

    limits: Connections

    # None until its end was asked for, and again once it came.
    _deadline: asyncio.TimerHandle | None = None
    # The client does not read: more waits for it than the transport likes.
    _write_paused = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn: BoundedFrames = BoundedFrames(
            max_size=self.config.ws_max_size, logger=self.logger
        )

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.conn.handshake_exc is None:
            # The task that the application runs in begins after this.
            self.scope["extensions"][PROVEN] = {"tell": lambda: self.limits.proven(self.transport)}

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.flooded:
            self.limits.flooded += 1
        if self.conn.flooded or self.transport.is_closing():
            self._end_in_time()

    def handle_ping(self) -> None:
        # uvicorn writes a pong whenever; the close code is the last that a client hears.
        if self.close_sent:
            self.conn.data_to_send()
        else:
            super().handle_ping()

    def pause_writing(self) -> None:
        """Nothing is answered that nobody reads: what the client sends waits with the client."""
        super().pause_writing()
        self._write_paused = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_paused = False
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> Any:
        message = await super().receive()
        if self._write_paused and not self.transport.is_closing():
            self.transport.pause_reading()
        return message

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text":
            # uvicorn would log a traceback for each message that is no UTF-8.
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.conn.fail(CloseCode.INVALID_DATA)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.close":
            self._end_in_time()
            # One small frame more behind what waits already.
            self.writable.set()
        await super().send(message)

    def keepalive_timeout(self) -> None:
        super().keepalive_timeout()
        self._end_in_time()

    def shutdown(self) -> None:
        super().shutdown()
        self._end_in_time()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self._end_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self.limits.lost(self.transport)
        super().connection_lost(exc)

    def _end_in_time(self) -> None:
        """`close` of a transport waits until everything was read, for ever."""
        if self._deadline is None and not self.disconnected:
            self._deadline = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)


def protocol_classes(limits: Connections) -> tuple[type[HttpProtocol], type[WebSocketProtocol]]:
    """Return the classes with these limits, of which uvicorn makes one object for each connection."""
    return (
        type("LimitedHttpProtocol", (HttpProtocol,), {"limits": limits}),
        type("LimitedWebSocketProtocol", (WebSocketProtocol,), {"limits": limits}),
    )

"""uvicorn's HTTP connection with time limits.

uvicorn waits forever for a request's headers, and for a client to read its response; it does not notice
that a client leaves which has sent more than its request.
`tests/project/test_dependencies.py` fails when its class changes.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.core.errors import BadRequest, Busy, QwenCameraError
from server.core.messages import error_body
from server.web.connections import Connections

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
    """One connection. `protocol_class` sets `limits`.

    Bounds of bytes behind a request that is being answered: 64 KiB and one read; beyond, the
    connection ends. The others wait for their turn.
    """

    limits: Connections

    # Monotonic time since which the client may send a request.
    waiting_since = 0.0
    # None before it is connected, once it is a WebSocket, and afterwards.
    _timer: asyncio.TimerHandle | None = None
    # Bytes that the client has not read, and the time since which it has read none.
    _untaken = 0
    _untaken_since = 0.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.conn = WholeRequests(h11.SERVER, MAX_HEADERS)

    @property
    def waiting(self) -> bool:
        """True while no request is being handled."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def evictable(self) -> bool:
        """See `HttpConnection`."""
        return self.waiting or self.transport.get_write_buffer_size() > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.waiting_since = time.monotonic()
        if self.limits.opened(self.transport, self):
            self._timer = self.loop.call_later(CHECK_SECONDS, self._check)
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
        self.loop.call_later(CHECK_SECONDS, self.transport.abort)

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
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def on_response_complete(self) -> None:
        self.waiting_since = time.monotonic()
        super().on_response_complete()
        if not self.transport.is_closing():
            self._count()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stop()
        self.limits.upgraded(self.transport)
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.limits.lost(self.transport)
        super().connection_lost(exc)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        now = time.monotonic()
        self._timer = self.loop.call_later(CHECK_SECONDS, self._check)
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._untaken_since = untaken, now
        elif now - self._untaken_since >= TAKE_SECONDS:
            self.transport.abort()
            return
        if self.waiting and not untaken and now - self.waiting_since >= HEADER_SECONDS:
            self.transport.abort()


def protocol_class(limits: Connections) -> type[HttpProtocol]:
    """Return the class with these limits, of which uvicorn creates one per connection."""
    return type("LimitedHttpProtocol", (HttpProtocol,), {"limits": limits})

"""uvicorn's HTTP connection with an end in time, and how many connections there may be.

uvicorn waits for ever for a request's headers and for a client to take its answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from server.addresses import UNKNOWN, Network, is_trusted, limiter_key
from server.errors import Busy
from server.messages import error_body

# What a client has for the headers of a request, from when it may send them; a body has `http_guard.BODY_SECONDS`.
HEADER_SECONDS = 10.0
# What it has to take anything of an answer that waits for it.
TAKE_SECONDS = 15.0
# What an idle one has to answer the end of its TLS, when the server stops.
GOODBYE_SECONDS = 0.3
# How often a connection is looked at.
LOOK_SECONDS = 2.0
# What one address may have of all connections. A network behind one address has its share, and leaves others theirs.
ADDRESS_PART = 2


class Connections:
    """All connections of the process, WebSockets too: at most `most`, half of them from one address.

    Beyond that the one of the same kind that has waited longest without a request goes, so that nobody is locked
    out by connections that ask for nothing; with none such a new one is refused. Proxies of ours have no address's
    bound: everybody comes through them, and they know whom they let in.
    """

    def __init__(self, most: int, trusted_proxies: Sequence[Network] = ()) -> None:
        self._most = most
        self._trusted = tuple(trusted_proxies)
        # By transport, oldest first: its address, None for a proxy's, and its protocol while it speaks HTTP.
        self._open: dict[Any, tuple[str | None, HttpProtocol | None]] = {}
        self._by_address: Counter[str | None] = Counter()
        self.refused = 0
        self.closed_idle = 0

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, transport: Any, protocol: HttpProtocol) -> bool:
        """Whether there is room for it."""
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else None
        key = None if is_trusted(host, self._trusted) else limiter_key(host or UNKNOWN)
        share = max(1, self._most // ADDRESS_PART)
        if key is not None and self._by_address[key] >= share and not self._make_room(key):
            self.refused += 1
            return False
        if len(self._open) >= self._most and not self._make_room(None):
            self.refused += 1
            return False
        self._open[transport] = key, protocol
        self._by_address[key] += 1
        return True

    def upgraded(self, transport: Any) -> None:
        """It speaks WebSocket from now on."""
        if transport in self._open:
            self._open[transport] = self._open[transport][0], None

    def lost(self, transport: Any) -> None:
        """Safe to call again."""
        entry = self._open.pop(transport, None)
        if entry is not None:
            self._by_address[entry[0]] -= 1
            if not self._by_address[entry[0]]:
                del self._by_address[entry[0]]

    def _make_room(self, key: str | None) -> bool:
        """Cut the connection off that has waited longest without a request: of an address, or of all (None)."""
        waiting = [
            (protocol.waiting_since, transport)
            for transport, (address, protocol) in self._open.items()
            if protocol is not None and protocol.waiting and (key is None or address == key)
        ]
        if not waiting:
            return False
        _, transport = min(waiting, key=lambda one: one[0])
        self.closed_idle += 1
        self.lost(transport)
        transport.abort()
        return True


class HttpProtocol(H11Protocol):
    """One connection. `limits` is set by `protocol_class`."""

    limits: Connections

    # Monotonic seconds since which the client may send a request.
    waiting_since = 0.0
    # None before it is connected, once it is a WebSocket, and afterwards.
    _timer: asyncio.TimerHandle | None = None
    # Bytes that the client has not taken, and since when not one of them.
    _untaken = 0
    _untaken_since = 0.0

    @property
    def waiting(self) -> bool:
        """No request is being worked on."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.waiting_since = time.monotonic()
        if self.limits.opened(self.transport, self):
            self._timer = self.loop.call_later(LOOK_SECONDS, self._look)
        else:
            self._refuse()

    def _refuse(self) -> None:
        error = Busy("Too many connections are open. Try again in a moment.", retry_after=5)
        body = json.dumps(error_body(error)).encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
            f"Retry-After: 5\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        # Nothing of it is read any more, and what it does not take is not waited for.
        self.loop.call_later(LOOK_SECONDS, self.transport.abort)

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)

    def shutdown(self) -> None:
        """The server stops: whoever waits for nothing is let go."""
        idle = self.waiting and not self.transport.get_write_buffer_size()
        super().shutdown()
        if idle:
            # Over TLS closing waits for the client's own goodbye, which one that sleeps or does not read never sends.
            self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def on_response_complete(self) -> None:
        self.waiting_since = time.monotonic()
        super().on_response_complete()

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

    def _look(self) -> None:
        now = time.monotonic()
        self._timer = self.loop.call_later(LOOK_SECONDS, self._look)
        untaken = self.transport.get_write_buffer_size()
        if not untaken or untaken != self._untaken:
            self._untaken, self._untaken_since = untaken, now
        elif now - self._untaken_since >= TAKE_SECONDS:
            self.transport.abort()
            return
        if self.waiting and not untaken and now - self.waiting_since >= HEADER_SECONDS:
            self.transport.abort()


def protocol_class(limits: Connections) -> type[HttpProtocol]:
    """For uvicorn, which makes one of it for each connection."""
    return type("LimitedHttpProtocol", (HttpProtocol,), {"limits": limits})

"""Limit the process's connections: in all, per address, and which one is closed for a new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from server.core.addresses import UNKNOWN, Network, is_trusted, limiter_key

# An address may have 1/ADDRESS_PART of all connections, so that others keep their share.
ADDRESS_PART = 2
# 1/8 of all connections may be unproven, and 1/4 of those may come from one address.
UNPROVEN_PART, UNPROVEN_ADDRESS_PART = 8, 4
# The extension of a WebSocket's scope whose `tell` reports that its client has a valid token.
PROVEN = "qwen_camera.proven"


class HttpConnection(Protocol):
    """An HTTP connection, as `Connections` uses it."""

    # Monotonic time since which the client may send a request
    waiting_since: float

    @property
    def evictable(self) -> bool:
        """True while it waits for a request, or for the client to read a response."""


class _Open:
    def __init__(self, key: str | None, protocol: HttpConnection | None) -> None:
        # Limiter key of the client's address; None for a proxy
        self.key = key
        # None once it is a WebSocket
        self.protocol = protocol


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

    def opened(self, transport: Any, protocol: HttpConnection) -> bool:
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

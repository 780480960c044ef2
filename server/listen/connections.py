"""The connections of the process: how many there may be, from whom, and which one makes room for another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from server.core.addresses import UNKNOWN, Network, is_trusted, limiter_key

# One address may have this part of all connections. A network behind one address has its share, and leaves others theirs.
ADDRESS_PART = 2
# Of all connections this part may be unproven, and of those this part may come from one address.
UNPROVEN_PART, UNPROVEN_ADDRESS_PART = 8, 4
# The extension of a WebSocket's scope whose `tell` says that its client has shown who it is.
PROVEN = "qwen_camera.proven"


class HttpConnection(Protocol):
    """The part of an HTTP connection that its owner asks for."""

    # Monotonic seconds since which the client may send a request
    waiting_since: float

    @property
    def evictable(self) -> bool:
        """Nothing is being worked on: it waits for a request, or for the client to take an answer."""


class _Open:
    def __init__(self, key: str | None, protocol: HttpConnection | None) -> None:
        # The client's address as it is counted; None for a proxy's
        self.key = key
        # None once it is a WebSocket
        self.protocol = protocol


class Connections:
    """All connections of the process, WebSockets too: at most `most`, half of them from one address.

    Unproven are those whose request has no end yet, and sockets without a token. They have a share of their own, beyond
    which the oldest of the address with the most of them goes. When all places are taken, an unproven one makes room
    first, then the one that has waited longest without a request; where there is none, a new one is refused. Proxies of
    ours have no address's bound: everybody comes through them, and they know whom they let in.
    """

    def __init__(self, most: int, trusted_proxies: Sequence[Network] = ()) -> None:
        self._most = most
        self._trusted = tuple(trusted_proxies)
        # By transport, oldest first
        self._open: dict[Any, _Open] = {}
        self._by_address: Counter[str | None] = Counter()
        # The unproven ones by transport, the one that became so first before the others, and their addresses
        self._unproven: dict[Any, str | None] = {}
        self._unproven_by_address: Counter[str | None] = Counter()
        self.refused = 0
        self.closed_idle = 0
        self.closed_unproven = 0
        # WebSockets that were ended for too many frames
        self.flooded = 0

    def __len__(self) -> int:
        return len(self._open)

    def opened(self, transport: Any, protocol: HttpConnection) -> bool:
        """Take a new connection in; False where there is no room for it."""
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
        self._open[transport] = _Open(key, protocol)
        self._by_address[key] += 1
        return True

    def upgraded(self, transport: Any) -> None:
        """It speaks WebSocket from now on, and has shown no token yet."""
        if transport in self._open:
            self._open[transport].protocol = None
            self.unproven(transport)

    def unproven(self, transport: Any) -> None:
        """Its request began and has no end yet. Safe to call again."""
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
        """Its request is whole, or its token is good. Safe to call again."""
        if transport in self._unproven:
            _take_one(self._unproven_by_address, self._unproven.pop(transport))

    def lost(self, transport: Any) -> None:
        """Safe to call again."""
        self.proven(transport)
        entry = self._open.pop(transport, None)
        if entry is not None:
            _take_one(self._by_address, entry.key)

    def _make_room(self, key: str | None) -> bool:
        """Cut one connection off, of an address or of all (None); False where none can be."""
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

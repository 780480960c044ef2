"""Who is asking: the client's address behind proxies, and a limit on what one address may ask. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# Hops of X-Forwarded-For that are looked at, from the right.
MAX_HOPS = 16
# What a request without a usable peer address counts as, all of them together.
UNKNOWN = "unknown"


def parse_address(text: str | None) -> Address | None:
    """An address as proxies and sockets write it: with a port, in brackets, with a zone. IPv4 in IPv6 becomes IPv4."""
    if text is None or len(text) > 100:
        return None
    text = text.strip().partition("%")[0]
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_trusted(peer: str | None, trusted: Sequence[Network]) -> bool:
    """Whether the other end of the connection is one of our proxies."""
    address = parse_address(peer)
    return address is not None and _within(address, trusted)


def client_address(
    peer: str | None, x_forwarded_for: str | None, trusted: Sequence[Network]
) -> str:
    """The right-most hop that is no proxy of ours; several X-Forwarded-For headers are to be joined by commas.

    What a client writes into the header itself stands further left and so never counts. An entry that is no
    address ends the search at the proxy that wrote it.
    """
    address = parse_address(peer)
    if address is None:
        return UNKNOWN
    if x_forwarded_for:
        for hop in x_forwarded_for.split(",")[: -MAX_HOPS - 1 : -1]:
            if not _within(address, trusted) or (before := parse_address(hop)) is None:
                break
            address = before
    return str(address)


def is_secure(
    scheme: str, peer: str | None, x_forwarded_proto: str | None, trusted: Sequence[Network]
) -> bool:
    """Whether the browser speaks TLS: to us, or to a proxy of ours that says so. `scheme` is the ASGI scope's."""
    if scheme in ("https", "wss"):
        return True
    if not x_forwarded_proto or not is_trusted(peer, trusted):
        return False
    # The nearest proxy wrote the right-most entry.
    return x_forwarded_proto.rpartition(",")[2].strip().lower() in ("https", "wss")


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def limiter_key(address: str) -> str:
    """What counts as one asker: an IPv4 address, or the /64 that one IPv6 household or machine has to itself."""
    parsed = parse_address(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


class AddressLimiter:
    """A token bucket for each address: `per_minute` at once, refilled evenly over a minute (0: no limit).

    One number an address is kept (the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371
    annex A). At most `max_addresses` are kept; beyond that the one unheard of for longest is forgotten, and
    counted in `forgotten` when its bucket was not full again yet.
    """

    def __init__(self, per_minute: int, *, max_addresses: int = 10_000) -> None:
        if per_minute < 0 or max_addresses < 1:
            raise ValueError("per_minute must be 0 or more, max_addresses 1 or more")
        self._interval = 60.0 / per_minute if per_minute else 0.0
        self._slack = 60.0 - self._interval
        self._max_addresses = max_addresses
        # When the bucket of each address is full again, monotonic seconds; least recently asked first.
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: str, now: float) -> float | None:
        """Count one request: None when it may pass, else the seconds after which one would."""
        if not self._interval:
            return None
        key = limiter_key(address)
        full_at = max(self._full_at.get(key, now), now)
        # A refusal takes nothing, so that asking too often does not lock anybody out for longer.
        wait = full_at - now - self._slack
        # Sums of many intervals are off by some 1e-13; the millisecond keeps the last of a burst from being refused.
        if wait > 0.001:
            self._full_at.move_to_end(key)
            return wait
        self._full_at[key] = full_at + self._interval
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_addresses:
            _, oldest = self._full_at.popitem(last=False)
            self.forgotten += oldest > now
        return None

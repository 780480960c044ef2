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


class Limiter:
    """A token bucket for each key: `per_minute` at once, refilled evenly over a minute, or over `window` seconds
    (0: no limit).

    One number a key is kept (the virtual scheduling form of the generic cell rate algorithm, ITU-T I.371
    annex A). At most `max_keys` are kept; beyond that the one unheard of for longest is forgotten, and
    counted in `forgotten` when its bucket was not full again yet.
    """

    def __init__(self, per_minute: int, *, max_keys: int = 10_000, window: float = 60.0) -> None:
        if per_minute < 0 or max_keys < 1:
            raise ValueError("per_minute must be 0 or more, max_keys 1 or more")
        self._window = window
        self._interval = window / per_minute if per_minute else 0.0
        self._slack = window - self._interval
        self._max_keys = max_keys
        # When the bucket of each key is full again, monotonic seconds; least recently asked first.
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def __contains__(self, key: str) -> bool:
        return self._key(key) in self._full_at

    def _key(self, name: str) -> str:
        return name

    def take(self, name: str, now: float, *, count: bool = True) -> float | None:
        """Count one request: None when it may pass, else the seconds after which one would. `count`: False only asks."""
        if not self._interval:
            return None
        key = self._key(name)
        full_at = max(self._full_at.get(key, now), now)
        # A refusal takes nothing, so that asking too often does not lock anybody out for longer.
        wait = full_at - now - self._slack
        # Sums of many intervals are off by some 1e-13; the millisecond keeps the last of a burst from being refused.
        if wait > 0.001:
            self._full_at.move_to_end(key)
            return wait
        if count:
            self._put(key, full_at + self._interval, now)
        return None

    def charge(self, name: str, now: float, count: int) -> None:
        """Count so many more that passed already, fewer than none to give back; a bucket is never more than empty."""
        if self._interval:
            key = self._key(name)
            full_at = max(self._full_at.get(key, now), now) + count * self._interval
            self._put(key, min(full_at, now + self._window), now)

    def _put(self, key: str, full_at: float, now: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._max_keys:
            _, oldest = self._full_at.popitem(last=False)
            self.forgotten += oldest > now


class AddressLimiter(Limiter):
    """The same for addresses: `limiter_key` says which are one asker."""

    def _key(self, name: str) -> str:
        return limiter_key(name)


# What a wrong access code takes from its address, in requests.
WRONG_CODE_COST = 3
# A session's own allowance is this part of an address's.
SESSION_PART = 3


class RequestLimiter:
    """Who may ask for tokens and offer cameras how often, so that a flood from an address leaves its neighbours alone.

    Whoever has a token has an allowance of their own (by its session) and does not share the address's, once its
    session is there, and once before that. Everybody else shares the address's.
    """

    def __init__(self, per_minute: int) -> None:
        self._addresses = AddressLimiter(per_minute)
        self._sessions = Limiter(-(-per_minute // SESSION_PART))

    @property
    def forgotten(self) -> int:
        return self._addresses.forgotten + self._sessions.forgotten

    def anybody(self, address: str, now: float) -> float | None:
        """See `Limiter.take`: a request without a token that is good."""
        return self._addresses.take(address, now)

    def wrong_code(self, address: str, now: float) -> None:
        """A request that passed had a wrong access code: it takes more."""
        self._addresses.charge(address, now, WRONG_CODE_COST - 1)

    def give_back(self, address: str, now: float) -> None:
        """A request that passed was one that nobody has to be kept from."""
        self._addresses.charge(address, now, -1)

    def session(self, session_id: str, address: str, now: float, *, begun: bool) -> float | None:
        """A request with a good token; `begun`: whether its session is there.

        Tokens are cheap to get where no code is asked for. So the allowance of one whose session never began is
        good for one request.
        """
        first = session_id not in self._sessions
        wait = self._sessions.take(session_id, now)
        if wait is None and not begun and not first:
            return self._addresses.take(address, now)
        return wait

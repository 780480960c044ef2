"""Client addresses behind proxies, and rate limits per address and per session. Pure."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# Hops of X-Forwarded-For that are read, from the right.
MAX_HOPS = 16
# Common key of all requests without a usable peer address.
UNKNOWN = "unknown"


def parse_address(text: str | None) -> Address | None:
    """Parse an address as proxies and sockets write it: with a port, brackets or a zone.

    None when malformed.

    An IPv4 address mapped into IPv6 is returned as IPv4.
    """
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
    """Return True when the connection's peer is one of our proxies."""
    address = parse_address(peer)
    return address is not None and _within(address, trusted)


def client_address(
    peer: str | None, x_forwarded_for: str | None, trusted: Sequence[Network]
) -> str:
    """Return the right-most hop that is no proxy of ours.

    Join several X-Forwarded-For headers with commas.

    A client's own entries stand further left, so they are never used. A malformed entry ends the
    search at the proxy that wrote it.
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
    """Return True when the browser uses TLS, to us or to a trusted proxy.

    `scheme` is the ASGI scope's.
    """
    if scheme in ("https", "wss"):
        return True
    if not x_forwarded_proto or not is_trusted(peer, trusted):
        return False
    # The nearest proxy wrote the right-most entry.
    return x_forwarded_proto.rpartition(",")[2].strip().lower() in ("https", "wss")


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def limiter_key(address: str) -> str:
    """Return an address's rate limit key: the IPv4 address, or an IPv6 address's /64 network."""
    parsed = parse_address(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


class Limiter:
    """A token bucket per key: `per_minute` requests at once, refilled evenly over `window` seconds.

    0: no limit.

    It stores one number per key (the virtual scheduling form of the generic cell rate algorithm,
    ITU-T I.371 annex A) and at most `max_keys` keys. Beyond that it drops the least recently used
    one, and counts it in `forgotten` when its bucket was not full yet.
    """

    def __init__(self, per_minute: int, *, max_keys: int = 10_000, window: float = 60.0) -> None:
        if per_minute < 0 or max_keys < 1:
            raise ValueError("per_minute must be 0 or more, max_keys 1 or more")
        self._window = window
        self._interval = window / per_minute if per_minute else 0.0
        self._slack = window - self._interval
        self._max_keys = max_keys
        # Key to the time at which its bucket is full again, monotonic seconds; least recently used
        # first.
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def __contains__(self, key: str) -> bool:
        return self._key(key) in self._full_at

    def _key(self, name: str) -> str:
        return name

    def take(self, name: str, now: float, *, count: bool = True) -> float | None:
        """Count one request.

        Returns None when it may pass, else the seconds to wait. `count=False` only checks.
        """
        if not self._interval:
            return None
        key = self._key(name)
        full_at = max(self._full_at.get(key, now), now)
        # A refusal takes nothing, so that retries do not lock a client out for longer.
        wait = full_at - now - self._slack
        # Sums of many intervals are off by about 1e-13; without the millisecond a burst's last
        # request could be refused.
        if wait > 0.001:
            self._full_at.move_to_end(key)
            return wait
        if count:
            self._put(key, full_at + self._interval, now)
        return None

    def charge(self, name: str, now: float, count: int) -> None:
        """Count further requests that have passed; a negative `count` gives back.

        A bucket is at most empty.
        """
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
    """A limiter whose keys are addresses, grouped by `limiter_key`."""

    def _key(self, name: str) -> str:
        return limiter_key(name)


# Cost of a wrong access code in requests.
WRONG_CODE_COST = 3
# An address's limit divided by a session's limit.
SESSION_PART = 3


class RequestLimiter:
    """Limits requests for tokens and offers, so that a flood from one address does not block other
    clients of it.

    A client with a token has a limit of its own (by session) as soon as its session exists, and for
    one request before that. All others share the limit of their address.

    Bounds of request counts: 10,000 addresses, 10,000 sessions; the least recently used is
    dropped.
    """

    def __init__(self, per_minute: int) -> None:
        self._addresses = AddressLimiter(per_minute)
        self._sessions = Limiter(-(-per_minute // SESSION_PART))

    @property
    def forgotten(self) -> int:
        return self._addresses.forgotten + self._sessions.forgotten

    def anybody(self, address: str, now: float) -> float | None:
        """Count a request without a valid token; returns like `Limiter.take`."""
        return self._addresses.take(address, now)

    def wrong_code(self, address: str, now: float) -> None:
        """Raise the cost of a passed request that had a wrong access code to `WRONG_CODE_COST`."""
        self._addresses.charge(address, now, WRONG_CODE_COST - 1)

    def give_back(self, address: str, now: float) -> None:
        """Give back a passed request that needs no limit."""
        self._addresses.charge(address, now, -1)

    def session(self, session_id: str, address: str, now: float, *, begun: bool) -> float | None:
        """Count a request with a valid token; returns like `Limiter.take`.

        `begun`: its session exists.

        Without an access code tokens are free, so a token without a session has a limit of its own
        for only one request.
        """
        first = session_id not in self._sessions
        wait = self._sessions.take(session_id, now)
        if wait is None and not begun and not first:
            return self._addresses.take(address, now)
        return wait


# Token bucket: limits the rate and the burst of events.


class Bucket:
    """Allows `rate` events per second and `burst` at once; `now` is monotonic seconds."""

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level = float(burst)
        self._at = now
        # Refused events
        self.refused = 0

    def take(self, now: float) -> bool:
        if not self.ready(now):
            self.refused += 1
            return False
        self._level -= 1
        return True

    def ready(self, now: float) -> bool:
        """Find whether one event would be allowed, and take none."""
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        return self._level >= 1


def take_all(buckets: Iterable[Bucket], now: float) -> bool:
    """Take an event from each bucket, or from none when one of them refuses."""
    some = tuple(buckets)
    return all(one.ready(now) for one in some) and all(one.take(now) for one in some)

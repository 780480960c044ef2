"""Client addresses behind proxies, rates per address, and the hosts and origins of requests. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# Maximum number of X-Forwarded-For hops read, from the right
MAX_HOPS = 16
# Maximum number of keys in a limiter
MAX_KEYS = 10_000
# Key shared by all requests without a usable peer address
UNKNOWN = "unknown"


def parse_address(text: str | None) -> Address | None:
    """Parse an address as written by proxies and sockets: with a port, brackets or a zone.

    Return None when it is malformed. An IPv4-mapped IPv6 address is returned as IPv4.
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
    """Return True if the connection's peer is a trusted proxy."""
    address = parse_address(peer)
    return address is not None and _is_within(address, trusted)


def get_client_address(
    peer: str | None, x_forwarded_for: str | None, trusted: Sequence[Network]
) -> str:
    """Return the right-most hop that is not a trusted proxy.

    The caller joins several X-Forwarded-For headers with commas. Entries forged by a client are
    further left, so they are never used. A malformed entry ends the search at the proxy that
    wrote it.
    """
    address = parse_address(peer)
    if address is None:
        return UNKNOWN
    if x_forwarded_for:
        for hop in x_forwarded_for.split(",")[: -MAX_HOPS - 1 : -1]:
            if not _is_within(address, trusted) or (before := parse_address(hop)) is None:
                break
            address = before
    return str(address)


def is_secure(
    scheme: str, peer: str | None, x_forwarded_proto: str | None, trusted: Sequence[Network]
) -> bool:
    """Return True if the browser uses TLS, to this server or to a trusted proxy.

    `scheme` is the one of the ASGI scope.
    """
    if scheme in ("https", "wss"):
        return True
    if not x_forwarded_proto or not is_trusted(peer, trusted):
        return False
    # The nearest proxy wrote the right-most entry.
    return x_forwarded_proto.rpartition(",")[2].strip().lower() in ("https", "wss")


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def get_limiter_key(address: str) -> str:
    """Return the rate limit key of an address: the IPv4 address, or the /64 network of an IPv6 address."""
    parsed = parse_address(address)
    if parsed is None:
        return UNKNOWN
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


class Limiter:
    """A token bucket per key: `per_minute` requests at once, refilled evenly over `window` seconds.

    0 means no limit. The limiter stores one number per key (the virtual scheduling form of the
    generic cell rate algorithm, ITU-T I.371 annex A) and at most MAX_KEYS keys. When it is full, it
    drops the least recently used key, and counts it in `forgotten` if its bucket was not full.
    """

    def __init__(self, per_minute: int, *, window: float = 60.0) -> None:
        self._window = window
        self._interval = window / per_minute if per_minute else 0.0
        self._slack = window - self._interval
        # Time at which each key's bucket is full again, monotonic seconds; least recently used
        # first
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def __contains__(self, key: str) -> bool:
        return key in self._full_at

    def take(self, key: str, now: float, *, count: bool = True) -> float | None:
        """Count one request. Return None if it is allowed, else the seconds to wait.

        With `count=False`, check without counting.
        """
        if not self._interval:
            return None
        full_at = max(self._full_at.get(key, now), now)
        # A refused request costs no token, so that retries do not lock a client out for longer.
        wait = full_at - now - self._slack
        # Sums of many intervals are off by about 1e-13: without the tolerance of a millisecond the
        # last request of a burst could be refused.
        if wait > 0.001:
            self._full_at.move_to_end(key)
            return wait
        if count:
            self._put(key, full_at + self._interval, now)
        return None

    def charge(self, key: str, now: float, count: int) -> None:
        """Count requests that were already allowed; a negative `count` refunds them.

        A bucket is never more than empty.
        """
        if self._interval:
            full_at = max(self._full_at.get(key, now), now) + count * self._interval
            self._put(key, min(full_at, now + self._window), now)

    def _put(self, key: str, full_at: float, now: float) -> None:
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > MAX_KEYS:
            _, oldest = self._full_at.popitem(last=False)
            self.forgotten += oldest > now


# The Host and Origin headers of requests (RFC 6454).

_DEFAULT_PORTS = {"http": 80, "https": 443}
# scheme://host[:port], the host a name, an IPv4 address or an IPv6 address in brackets.
_ORIGIN = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_MAX_CHARS = 300


def normalise_origin(text: str) -> str | None:
    """Return `scheme://host[:port]` in lower case without a default port; None if it is not a web origin."""
    if len(text) > _MAX_CHARS or (match := _ORIGIN.fullmatch(text.lower())) is None:
        return None
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if port is None or int(port) == _DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 0 < int(port) < 65536 else None


# Suffixes of machine names in home and office networks; such names cannot be registered publicly.
_OWN_SUFFIXES = ("", ".local", ".lan", ".home.arpa", ".internal", ".localdomain")


class HostPolicy:
    """The accepted hosts of this server: IP addresses, localhost, and the given names.

    Other names are refused, because an attacker's name can resolve to this server (DNS rebinding).
    `*.` at the beginning of a name matches exactly one label.
    """

    def __init__(self, names: Iterable[str] = (), own_name: str = "") -> None:
        """Accept `names` and this machine's host name, `own_name`."""
        own = own_name.lower().rstrip(".")
        label = own.partition(".")[0]
        given = {name.lower().rstrip(".") for name in names}
        self._names = frozenset({own, *given, *(label + end for end in _OWN_SUFFIXES if label)}) - {
            ""
        }

    def add(self, names: Iterable[str]) -> None:
        """Accept further names."""
        self._names |= {name.lower().rstrip(".") for name in names}

    def allows(self, host: str | None) -> bool:
        """Return True if the Host header, with or without a port, is accepted."""
        if host is None:
            return False
        name = _host_name(host)
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        return name in self._names or "*." + name.partition(".")[2] in self._names


def _host_name(host: str) -> str:
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class OriginPolicy:
    """Checks the `Origin` header against a list, or against the request's host if the list is empty.

    With a list, only listed origins are allowed: the server's own origin must be listed, too.
    Without one, the host must be accepted by `hosts`, because with DNS rebinding an attacker's page
    has the same host as the request. A request without `Origin` needs an accepted or listed host.
    """

    def __init__(self, allowed: Iterable[str], hosts: HostPolicy) -> None:
        """Create the policy. `allowed`: origins in the format of `normalise_origin`."""
        self._allowed = frozenset(allowed)
        self._hosts = hosts
        self._listed = HostPolicy(_host_name(one.partition("://")[2]) for one in self._allowed)

    def allows_host(self, host: str | None) -> bool:
        """Return True if the host is one of this server or of the list."""
        return self._hosts.allows(host) or self._listed.allows(host)

    def allows(self, origin: str | None, host: str | None, secure: bool) -> bool:
        """Return True if a request with these `Origin` and `Host` headers is allowed.

        `secure`: the request came over TLS. Without `Origin` (no web page, or a request for which
        browsers send none) only the host is checked. An https origin is also accepted as same origin on
        a plain request, because a proxy may terminate TLS without adding a header.
        """
        if origin is None:
            return self.allows_host(host)
        asking = normalise_origin(origin)
        if asking is None:  # "null" among others: sandboxed frames, files
            return False
        if self._allowed:
            return asking in self._allowed
        scheme = asking.partition("://")[0]
        if host is None or not self._hosts.allows(host) or (secure and scheme != "https"):
            return False
        return asking == normalise_origin(f"{scheme}://{host}")

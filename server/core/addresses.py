"""Client addresses behind proxies, rates per address, and the hosts and origins of requests. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# Hops of X-Forwarded-For that are read, from the right.
MAX_HOPS = 16
# Keys of a limiter
MAX_KEYS = 10_000
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
    return address is not None and _is_within(address, trusted)


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
            if not _is_within(address, trusted) or (before := parse_address(hop)) is None:
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


def _is_within(address: Address, networks: Sequence[Network]) -> bool:
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
    ITU-T I.371 annex A) and at most MAX_KEYS keys. Beyond that it drops the least recently used
    one, and counts it in `forgotten` when its bucket was not full yet.
    """

    def __init__(self, per_minute: int, *, window: float = 60.0) -> None:
        self._window = window
        self._interval = window / per_minute if per_minute else 0.0
        self._slack = window - self._interval
        # Key to the time at which its bucket is full again, monotonic seconds; least recently used
        # first.
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def __contains__(self, key: str) -> bool:
        return key in self._full_at

    def take(self, key: str, now: float, *, count: bool = True) -> float | None:
        """Count one request.

        Returns None when it may pass, else the seconds to wait. `count=False` only checks.
        """
        if not self._interval:
            return None
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

    def charge(self, key: str, now: float, count: int) -> None:
        """Count further requests that have passed; a negative `count` gives back.

        A bucket is at most empty.
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
    """Return `scheme://host[:port]` in lower case, no default port; None for no web origin."""
    if len(text) > _MAX_CHARS or (match := _ORIGIN.fullmatch(text.lower())) is None:
        return None
    scheme, host, port = match["scheme"], match["host"], match["port"]
    if port is None or int(port) == _DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 0 < int(port) < 65536 else None


# Suffixes of machine names in home and office networks. Nobody can register such names publicly.
_OWN_SUFFIXES = ("", ".local", ".lan", ".home.arpa", ".internal", ".localdomain")


class HostPolicy:
    """Accepts the hosts of this server: IP addresses, localhost, and the given names.

    Other names are refused because a stranger's name can resolve to this server (DNS rebinding); an
    address cannot. `*.` at the beginning of a name stands for exactly one label.
    """

    def __init__(self, names: Iterable[str] = (), own_name: str = "") -> None:
        """`own_name`: this machine's host name."""
        own = own_name.lower().rstrip(".")
        label = own.partition(".")[0]
        given = {name.lower().rstrip(".") for name in names}
        self._names = frozenset({own, *given, *(label + end for end in _OWN_SUFFIXES if label)}) - {
            ""
        }

    def add(self, names: Iterable[str]) -> None:
        """Accept these names, too."""
        self._names |= {name.lower().rstrip(".") for name in names}

    def allows(self, host: str | None) -> bool:
        """Return True for an accepted Host header, with or without a port."""
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
    """Compares the `Origin` header with a list, or with an empty list, with the request's host.

    With a list only the list counts: the server's own origin must be in it, too. Without a list the
    host must be one of ours, because with DNS rebinding a stranger's page has the same host as the
    request. A request without `Origin` needs a host of ours or of the list.
    """

    def __init__(self, allowed: Iterable[str], hosts: HostPolicy) -> None:
        """`allowed`: the list, as `normalise_origin` returns them."""
        self._allowed = frozenset(allowed)
        self._hosts = hosts
        self._listed = HostPolicy(_host_name(one.partition("://")[2]) for one in self._allowed)

    def allows_host(self, host: str | None) -> bool:
        """Return True when the host is one of this server's or of the list."""
        return self._hosts.allows(host) or self._listed.allows(host)

    def allows(self, origin: str | None, host: str | None, secure: bool) -> bool:
        """Return True when a request with these `Origin` and `Host` headers may pass.

        `secure`: it came over TLS.

        Without `Origin` (no web page, or a request for which browsers send none) only the host
        counts. An https page counts as same origin also on a plain request, because a proxy may
        terminate TLS without a header about it.
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

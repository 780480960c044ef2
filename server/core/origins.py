"""Check the Host and Origin headers of requests (RFC 6454). Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

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
        name = _host_alone(host)
        if name == "localhost" or name.endswith(".localhost") or _is_address(name):
            return True
        return name in self._names or "*." + name.partition(".")[2] in self._names


def _host_alone(host: str) -> str:
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

    def __init__(self, allowed: Iterable[str], hosts: HostPolicy | None = None) -> None:
        self._allowed = frozenset(map(_known, allowed))
        self._hosts = hosts if hosts is not None else HostPolicy()
        self._listed = HostPolicy(_host_alone(one.partition("://")[2]) for one in self._allowed)

    def knows(self, host: str | None) -> bool:
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
            return self.knows(host)
        asking = normalise_origin(origin)
        if asking is None:  # "null" among others: sandboxed frames, files
            return False
        if self._allowed:
            return asking in self._allowed
        scheme = asking.partition("://")[0]
        if host is None or not self._hosts.allows(host) or (secure and scheme != "https"):
            return False
        return asking == normalise_origin(f"{scheme}://{host}")


def _known(text: str) -> str:
    origin = normalise_origin(text)
    if origin is None:
        raise ValueError(f"{text[:80]!r} is no origin like https://cam.example.org:8443")
    return origin

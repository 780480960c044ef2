"""Connections of httpcore2 to allowed addresses only: public ones, unless the caller allows others.

A name given by another host cannot lead to this machine, its networks or its cloud.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import httpcore2
from httpcore2 import SOCKET_OPTION, NetworkBackend, NetworkStream

# Maximum addresses of a name that are tried
MAX_ADDRESSES = 8
Resolve = Callable[[str, int], list[str]]
# Global unicast (RFC 4291); all other IPv6 addresses are special.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# Part of it for protocols (RFC 2928), which newer Python versions regard as global: 2001:1::1 is the
# nearest router
_PROTOCOLS_V6 = ipaddress.IPv6Network("2001::/23")
# IPv4 addresses embedded in IPv6 (RFC 6052)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# In addition to those that Python knows: IETF protocol assignments (RFC 6890; they contain a cloud's
# metadata service), deprecated relays (RFC 7526)
_SPECIAL = tuple(ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))
# Metadata services of clouds that are not link-local: Azure, Alibaba
_METADATA = tuple(ipaddress.ip_address(text) for text in ("168.63.129.16", "100.100.100.200"))


class FetchError(Exception):
    """A request failed. `message` says what was requested, what happened and what to do; it contains no
    query and no password of a URL.

    Outside the server's tree of errors: this folder is used without the server.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RefusedAddress(FetchError):
    """A name leads to a refused address. Not a QwenCameraError, like FetchError."""


def classify_refused(text: str) -> str | None:
    """Return the kind of a refused address; None for a public one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "no IP"
    return _classify_v6(address) if isinstance(address, IPv6Address) else _classify_v4(address)


def _classify(address: IPv4Address | IPv6Address, private: bool) -> str | None:
    """Return the kind of an address that is not public; None for a public one."""
    for kind, holds in (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("private", private),
    ):
        if holds:
            return kind
    return None


def _classify_v4(address: IPv4Address) -> str | None:
    if address in _METADATA:
        return "metadata"
    if kind := _classify(address, address.is_private):
        return kind
    special = address.is_reserved or not address.is_global
    return "special" if special or any(address in net for net in _SPECIAL) else None


def _classify_v6(address: IPv6Address) -> str | None:
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return _classify_v4(inner)
    if kind := _classify(address, address.is_private or address.is_site_local):
        return kind
    public = address in _GLOBAL_V6 and address.is_global and address not in _PROTOCOLS_V6
    return None if public else "special"


def make_tls_context() -> ssl.SSLContext:
    """Return a TLS context with the CA certificates of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.

    Raises FetchError.
    """
    try:
        return httpcore2.default_ssl_context()
    except OSError as error:
        raise FetchError(
            f"The CA certificates cannot be read ({error.strerror or error}). Set SSL_CERT_FILE to a readable file"
            " of CA certificates, or unset SSL_CERT_FILE and SSL_CERT_DIR."
        ) from None


def explain_error(error: Exception) -> str:
    """Return the reason of a failed connection, for a sentence: certificate, name, or kind of error."""
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return "its certificate is not trusted; if your network replaces certificates, set SSL_CERT_FILE to the file of its CA certificate"
    return text if 0 < len(text) <= 120 and text.isprintable() else type(error).__name__


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, or the address itself in its usual format. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def look_up(host: str, port: int, resolve: Resolve = resolve) -> Future[list[str]]:
    """Look up a name in a separate thread: if it hangs, it blocks no thread of a pool, and the process can end."""
    found: Future[list[str]] = Future()
    found.set_running_or_notify_cancel()

    def ask() -> None:
        try:
            found.set_result(resolve(host, port))
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return found


def check(host: str, address: str, refused: Callable[[str], str | None]) -> None:
    """Raise RefusedAddress for an address of `host` that `refused` rejects."""
    kind = refused(address)
    if kind is not None:
        what = address if host == address else f"{host} ({address})"
        raise RefusedAddress(
            f"{what} is refused, because it is a {kind} address and only public ones are allowed. Fetch the file"
            " by other means, and give its path."
        )


class Network(NetworkBackend):
    """A network backend that looks up a name once, connects to a checked address, and checks the
    address of the peer again.

    A name whose address changes between check and connection (DNS rebinding) is therefore harmless.
    `refused` returns why an address is refused, or None. `seconds`: time limit of a connection from its
    creation to its end; None for no limit.
    """

    def __init__(
        self,
        *,
        seconds: float | None = None,
        refused: Callable[[str], str | None] = classify_refused,
        resolve: Resolve = resolve,
    ) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._refused = refused
        self._resolve = resolve
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SOCKET_OPTION] | None = None,
    ) -> NetworkStream:
        """Connect to the first address of a host. Raises FetchError if any of its addresses is refused, and httpcore2's errors."""
        options = list(socket_options or ())
        addresses = self._look_up(host, port, self.get_remaining(timeout, httpcore2.ConnectTimeout))
        for address in addresses:
            check(host, address, self._refused)
        tried = addresses[:MAX_ADDRESSES]
        for number, address in enumerate(tried, 1):
            try:
                stream = self._backend.connect_tcp(
                    address,
                    port,
                    self.get_remaining(timeout, httpcore2.ConnectTimeout),
                    local_address,
                    options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if number == len(tried):
                    raise
                continue
            try:
                check(host, str(stream.get_extra_info("server_addr")[0]), self._refused)
            except OSError:
                stream.close()
                raise httpcore2.ConnectError(f"{host} closed the connection immediately") from None
            except FetchError:
                stream.close()
                raise
            return _Stream(stream, self)
        raise httpcore2.ConnectError(f"{host} has no address")

    def get_remaining(self, timeout: float | None, late: type[Exception]) -> float | None:
        """Return `timeout`, or the remaining time if that is shorter. Raises `late` after the end."""
        if self._end is None:
            return timeout
        left = self._end - time.monotonic()
        if left <= 0:
            raise late("the time limit was reached")
        return left if timeout is None else min(timeout, left)

    def _look_up(self, host: str, port: int, seconds: float | None) -> list[str]:
        """Resolve a host within the remaining time. Raises httpcore2's errors."""
        try:
            return look_up(host, port, self._resolve).result(seconds)
        except TimeoutError:
            raise httpcore2.ConnectTimeout(f"looking up {host} took too long") from None
        except (OSError, UnicodeError):
            raise httpcore2.ConnectError(f"{host} was not found") from None


class _Stream(NetworkStream):
    """A connection that ends when its network's time limit is reached, even if data still arrive."""

    def __init__(self, inner: NetworkStream, network: Network) -> None:
        self._inner = inner
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(
            max_bytes, self._network.get_remaining(timeout, httpcore2.ReadTimeout)
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._network.get_remaining(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        left = self._network.get_remaining(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

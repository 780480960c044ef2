"""ICE sockets and announced addresses of a camera's connection, in place of aioice 0.13.0's.

A connection takes one UDP port on each used address of this machine except loopback, whatever its
offer contains. Private names of aioice are used and replaced: `tests/project/test_dependencies.py`
fails if they change.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import time
from collections.abc import Sequence
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import urlsplit

import aioice
import aioice.ice
import aioice.turn
from aioice.candidate import candidate_foundation, candidate_priority
from aioice.ice import server_reflexive_candidate

from server.core.errors import PortsExhausted

log = logging.getLogger(__name__)
Address = IPv4Address | IPv6Address
# Maximum wait of an answer for the STUN server, because candidates are not trickled
STUN_SECONDS = 0.5
# Time without requests to a STUN server that did not respond, so that further answers do not wait
STUN_PAUSE_SECONDS = 60.0
# Time for which offers are refused without a search, after the whole range was found in use
FULL_SECONDS = 0.5
RETRY_AFTER = 3.0


class Gathering:
    """Gathers the candidates of all connections, and owns the position in the port range.

    `ports`: first and last UDP port for media; None lets the system choose. `public`: the addresses
    to announce, most preferred first. They replace all own addresses of their family (IPv4, IPv6).
    An address that this machine does not have is mapped to the same port on this machine's addresses
    (1:1 NAT, published ports of a container). `stun_url`: a `stun:` URL to ask for this machine's
    public address; IPv4 only, and only if `public` has no IPv4 address.

    Bounds of the position in the port range: UDP_PORT_RANGE; when full, offers are refused with
    an error.
    """

    def __init__(
        self,
        *,
        ports: tuple[int, int] | None = None,
        public: Sequence[Address] = (),
        stun_url: str | None = None,
    ) -> None:
        self._ports = ports
        self._public = tuple(public)
        self._stun = None if stun_url is None else _host_and_port(stun_url)
        self._stun_silent_until = 0.0
        self._next = ports[0] if ports else 0
        self._full_until = 0.0

    def attach(self, connection: aioice.ice.Connection) -> None:
        """Gather this connection's candidates. Call this before the connection gathers."""
        connection.get_component_candidates = partial(self._gather, connection)  # type: ignore[method-assign]

    @property
    def asks_stun(self) -> bool:
        """True if answers may also announce the address reported by a STUN server."""
        return self._stun is not None and not any(a.version == 4 for a in self._public)

    def get_announced_addresses(self, own: Sequence[str]) -> list[str]:
        """Return the addresses to announce on a machine with the addresses `own`, without those from STUN."""
        named = {address.version for address in self._public}
        rest = [a for a in own if ipaddress.ip_address(a).version not in named]
        return [*map(str, self._public), *rest]

    async def _gather(
        self,
        connection: aioice.ice.Connection,
        component: int,
        addresses: list[str],
        timeout: int = 5,
    ) -> list[aioice.Candidate]:
        """Replace `Connection.get_component_candidates`: open sockets, return candidates.

        Raises PortsExhausted.
        """
        hosts: list[aioice.ice.StunProtocol] = []
        for address in self._select_addresses(addresses):
            try:
                sock = self._open_socket(address)
            except PortsExhausted:
                raise
            except OSError as error:
                # An address may have disappeared (Wi-Fi), or not be ready yet.
                log.info(
                    "cannot open a media socket",
                    extra={"address": address, "error": errno.errorcode.get(error.errno or 0)},
                )
                continue
            try:
                _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: aioice.ice.StunProtocol(connection), sock=sock
                )
            except BaseException:
                sock.close()
                raise
            # The connection's `close` closes it from now on.
            connection._protocols.append(protocol)
            host, port = sock.getsockname()[:2]
            protocol.local_candidate = _make_candidate(component, host, port, 0xFFFF)
            hosts.append(protocol)
        found = self._announce(component, hosts)
        if self._stun is not None and self.asks_stun:
            found += await self._find_reflexive_candidates(hosts, self._stun)
        return found

    def _select_addresses(self, own: list[str]) -> list[str]:
        """Return this machine's addresses that need a socket: only the public ones of a family if this machine has them all."""
        used = list(own)
        for version in (4, 6):
            named = [str(a) for a in self._public if a.version == version]
            if named and all(address in own for address in named):
                used = [a for a in used if ipaddress.ip_address(a).version != version or a in named]
        return used

    def _open_socket(self, address: str) -> socket.socket:
        """Open and bind a UDP socket. Raises PortsExhausted, or OSError if the address cannot be used."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, aioice.turn.UDP_SOCKET_BUFFER_SIZE)
            self.bind(sock, address)
        except BaseException:
            sock.close()
            raise
        return sock

    def bind(self, sock: socket.socket, address: str) -> None:
        """Bind to the next free port of the range after the last used one. Raises PortsExhausted, OSError."""
        if self._ports is None:
            sock.bind((address, 0))
            return
        low, high = self._ports
        count = high - low + 1
        if time.monotonic() >= self._full_until:
            for step in range(count):
                port = low + (self._next - low + step) % count
                try:
                    sock.bind((address, port))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    continue
                self._next = port + 1
                return
            self._full_until = time.monotonic() + FULL_SECONDS
            log.warning("media ports exhausted", extra={"count": count})
        raise PortsExhausted(
            f"All {count} media ports of this server are in use. Try again in a moment; its administrator can widen"
            " UDP_PORT_RANGE, which needs one port for each camera.",
            retry_after=RETRY_AFTER,
        )

    def _announce(
        self, component: int, hosts: list[aioice.ice.StunProtocol]
    ) -> list[aioice.Candidate]:
        own = {protocol.local_candidate.host: protocol for protocol in hosts}
        candidates: dict[tuple[str, int], aioice.Candidate] = {}
        for address in self.get_announced_addresses(list(own)):
            version = ipaddress.ip_address(address).version
            for host, protocol in own.items():
                if host != address and (
                    address in own or ipaddress.ip_address(host).version != version
                ):
                    continue
                port = protocol.local_candidate.port
                # Each candidate has its own local preference; higher is better (RFC 8445, 5.1.2.1).
                preference = 0xFFFF - len(candidates)
                candidates.setdefault(
                    (address, port), _make_candidate(component, address, port, preference)
                )
        return list(candidates.values())

    async def _find_reflexive_candidates(
        self, hosts: list[aioice.ice.StunProtocol], server: tuple[str, int]
    ) -> list[aioice.Candidate]:
        """Return candidates with the sockets' public addresses from the STUN server; none without a response in time."""
        hosts = [p for p in hosts if ipaddress.ip_address(p.local_candidate.host).version == 4]
        if not hosts or time.monotonic() < self._stun_silent_until:
            return []
        candidates = []
        try:
            async with asyncio.timeout(STUN_SECONDS):
                infos = await asyncio.get_running_loop().getaddrinfo(
                    *server, family=socket.AF_INET, type=socket.SOCK_DGRAM
                )
                where = str(infos[0][4][0]), int(infos[0][4][1])
                seen = await asyncio.gather(
                    *(server_reflexive_candidate(protocol, where) for protocol in hosts),
                    return_exceptions=True,
                )
        except (TimeoutError, OSError) as error:
            self._stun_silent_until = time.monotonic() + STUN_PAUSE_SECONDS
            log.warning("STUN request failed", extra={"error": type(error).__name__})
            return []
        for protocol, result in zip(hosts, seen, strict=True):
            if isinstance(result, BaseException):
                log.info("STUN request refused", extra={"error": type(result).__name__})
            elif result[0].host != protocol.local_candidate.host:
                candidates.append(result[0])
        return candidates


def get_own_addresses() -> list[str]:
    """Return this machine's addresses except loopback and link-local IPv6."""
    found: list[str] = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
    return found


def _make_candidate(component: int, host: str, port: int, preference: int) -> aioice.Candidate:
    return aioice.Candidate(
        foundation=candidate_foundation("host", "udp", host),
        component=component,
        transport="udp",
        priority=candidate_priority(component, "host", preference),
        host=host,
        port=port,
        type="host",
    )


def _host_and_port(stun_url: str) -> tuple[str, int]:
    """Split stun:host, stun:host:port or stun:[address]:port, already checked by config.py."""
    parts = urlsplit("//" + stun_url.partition(":")[2])
    return parts.hostname or "", parts.port or 3478

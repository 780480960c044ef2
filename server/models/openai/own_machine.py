"""Find whether an address leads to this machine: its loopback, one of its addresses, or its name.

Only the machine's own name counts, and only while it resolves to own addresses alone: others decide
where any other name leads tomorrow.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv6Address

import ifaddr

from server.core.addresses import parse_address
from server.models.openai.discovery import other_machine

Address = IPv4Address | IPv6Address
_RESOLVE_SECONDS = 2.0
# A name server that does not answer holds a thread: it is not asked again for so long.
_PAUSE_SECONDS = 60.0


def own_addresses() -> frozenset[Address]:
    """Return the addresses of all interfaces now. Blocking for about a millisecond."""
    found = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            text = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            found.add(ipaddress.ip_address(text.partition("%")[0]))
    return frozenset(found)


def own_names() -> frozenset[str]:
    """Return the machine's own names, for DNS and for multicast DNS (RFC 6762); nothing is sent."""
    name = socket.gethostname().strip().rstrip(".").lower()
    first = name.partition(".")[0]
    return frozenset({name, first, f"{first}.local"} - {"", "localhost", ".local"})


def is_own(address: Address, own: Iterable[Address]) -> bool:
    return address.is_loopback or address.is_unspecified or address in own


class Whereabouts:
    """The machine behind one engine's address; looked up each time, because networks change."""

    def __init__(
        self,
        base_url: str,
        *,
        addresses: Callable[[], frozenset[Address]] = own_addresses,
        names: Callable[[], frozenset[str]] = own_names,
    ) -> None:
        # The other machine as people know it, "" for none; before `find` it is read from the address
        # alone.
        self.other = self._host = other_machine(base_url)
        self._addresses, self._names = addresses, names
        self._not_before = 0.0

    async def find(self) -> str:
        """Look the machine up, without blocking the event loop; "" while it is this one."""
        if self._host:
            self.other = "" if await self._leads_here() else self._host
        return self.other

    async def _leads_here(self) -> bool:
        loop = asyncio.get_running_loop()
        literal = parse_address(f"[{self._host}]" if ":" in self._host else self._host)
        if literal is not None:
            return is_own(literal, await self._own())
        if self._host not in self._names() or loop.time() < self._not_before:
            return False
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await loop.getaddrinfo(self._host, None, type=socket.SOCK_STREAM)
        except TimeoutError:
            self._not_before = loop.time() + _PAUSE_SECONDS
            return False
        except (OSError, UnicodeError):
            return False
        meant = {parse_address(str(one[4][0])) for one in found}
        own = await self._own()
        return bool(meant) and all(one is not None and is_own(one, own) for one in meant)

    async def _own(self) -> frozenset[Address]:
        try:
            return await asyncio.to_thread(self._addresses)
        except OSError:
            # The system gives none: then no address is known to be ours.
            return frozenset()

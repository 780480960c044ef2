"""Which addresses a name from outside may lead to: public ones, and none of this machine, its networks, its cloud. Pure."""

from __future__ import annotations

import ipaddress
from ipaddress import IPv4Address, IPv6Address

# Global unicast (RFC 4291); whatever else IPv6 has is special.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# In there for protocols (RFC 2928), which newer Pythons take for global: 2001:1::1 is whatever router is next
_PROTOCOLS_V6 = ipaddress.IPv6Network("2001::/23")
# IPv4 behind IPv6: RFC 6052
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Beside what Python knows: IETF protocol assignments (RFC 6890; a cloud's metadata is in there), relays that are
# given up (RFC 7526).
_SPECIAL = tuple(ipaddress.IPv4Network(text) for text in ("192.0.0.0/24", "192.88.99.0/24"))
# Where clouds tell a machine its secrets, when it is not link-local: Azure, Alibaba
_METADATA = tuple(ipaddress.ip_address(text) for text in ("168.63.129.16", "100.100.100.200"))


def refused(text: str) -> str | None:
    """What kind of address it is, when nothing may be fetched from it; None for a public one."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return "no IP"
    if isinstance(address, IPv6Address):
        return _refused_v6(address)
    return _refused_v4(address)


def _refused_v4(address: IPv4Address) -> str | None:
    if address in _METADATA:
        return "metadata"
    for kind, holds in (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("private", address.is_private),
    ):
        if holds:
            return kind
    special = address.is_reserved or not address.is_global
    return "special" if special or any(address in net for net in _SPECIAL) else None


def _refused_v6(address: IPv6Address) -> str | None:
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    if inner is not None:
        return _refused_v4(inner)
    for kind, holds in (
        ("unspecified", address.is_unspecified),
        ("loopback", address.is_loopback),
        ("link-local", address.is_link_local),
        ("multicast", address.is_multicast),
        ("private", address.is_private or address.is_site_local),
    ):
        if holds:
            return kind
    public = address in _GLOBAL_V6 and address.is_global and address not in _PROTOCOLS_V6
    return None if public else "special"

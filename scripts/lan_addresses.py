"""Find the names and addresses under which devices in the local network reach this machine."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import ifaddr

Address = IPv4Address | IPv6Address

# Interfaces that no phone reaches: bridges and pairs of containers and virtual machines, and
# tunnels, whose address changes with each start.
_NOT_LAN = re.compile(
    r"docker|br-|veth|virbr|cni|flannel|cali|kube|podman|lxc|lxd|incus|vmnet|vboxnet|vethernet|bridge"
    r"|tun|utun|tap|ppp|awdl|llw|lo\d*$",
    re.IGNORECASE,
)
# Bits of the flags in /proc/net/if_inet6 (linux/if_addr.h).
_TEMPORARY, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x20, 0x40, 0x80
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
# Upper bound, so that the certificate stays small.
MAX_ADDRESSES = 16


@dataclass(frozen=True, slots=True)
class Identity:
    """The names and addresses for this machine's certificate, without those of loopback."""

    # Host names in lower case
    names: tuple[str, ...]
    # The address of the default route comes first.
    addresses: tuple[Address, ...]


def host_names(hostname: str) -> tuple[str, ...]:
    """Return the machine's DNS and multicast DNS (RFC 6762) names; empty when its host name fits
    neither.

    A host name may be a whole domain name, or already end in .local.
    """
    name = hostname.strip().rstrip(".").lower()
    labels = name.split(".")
    if name in ("", "localhost") or not all(_LABEL.fullmatch(label) for label in labels):
        return ()
    if labels[-1].isdigit():  # an IP address, or what looks like one
        return ()
    return tuple(dict.fromkeys((name, labels[0], f"{labels[0]}.local")))


def is_lan(interface: str, address: Address, stable_ipv6: Iterable[IPv6Address]) -> bool:
    """Return True when devices in the network reach this address, and it will not change soon."""
    if _NOT_LAN.match(interface):
        return False
    if address.is_loopback or address.is_link_local or address.is_unspecified:
        return False
    return isinstance(address, IPv4Address) or address in stable_ipv6


def stable_ipv6(table: str) -> frozenset[IPv6Address]:
    """Return the IPv6 addresses without a lifetime, from the text of /proc/net/if_inet6.

    The others are privacy addresses (RFC 8981), or have a prefix that the provider changes; each
    change would need a new certificate, which phones would have to accept again.
    """
    found = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) != 6:
            continue
        flags = int(fields[4], 16)
        if flags & _PERMANENT and not flags & (_TEMPORARY | _DEPRECATED | _TENTATIVE):
            found.add(IPv6Address(int(fields[0], 16)))
    return frozenset(found)


def outward_address() -> IPv4Address | None:
    """Return the address of this machine's default route; None without one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # TEST-NET-3 (RFC 5737): routed like any other, but unused.
            probe.connect(("203.0.113.1", 9))
        except OSError:
            return None
        return IPv4Address(probe.getsockname()[0])


def find_identity() -> Identity:
    """Read the current host name and interfaces."""
    try:
        stable = stable_ipv6(Path("/proc/net/if_inet6").read_text(encoding="ascii"))
    except OSError:
        # Not Linux, or no IPv6: stable addresses are unknown.
        stable = frozenset()
    first = outward_address()
    found: set[Address] = set()
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            address = ipaddress.ip_address(ip.ip if isinstance(ip.ip, str) else ip.ip[0])
            if is_lan(adapter.nice_name, address, stable):
                found.add(address)
    ordered = sorted(found, key=lambda a: (a != first, a.version, not a.is_private, int(a)))
    return Identity(host_names(socket.gethostname()), tuple(ordered[:MAX_ADDRESSES]))

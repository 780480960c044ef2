"""Names and addresses of this machine that a phone in the network can use."""

from __future__ import annotations

import ipaddress

import pytest

from scripts.lan_addresses import find_identity, host_names, is_lan, stable_ipv6


@pytest.mark.parametrize(
    ("hostname", "names"),
    [
        ("Desk-7", ("desk-7", "desk-7.local")),
        ("mac.local", ("mac.local", "mac")),
        ("cam.example.org", ("cam.example.org", "cam", "cam.local")),
        ("cam.example.org.", ("cam.example.org", "cam", "cam.local")),
        *((nothing, ()) for nothing in ("", "localhost", "a_b", "-a", "192.168.1.5", "a" * 64)),
    ],
)
def test_host_names(hostname: str, names: tuple[str, ...]) -> None:
    """As DNS and multicast DNS have it; what is no name gives none."""
    assert host_names(hostname) == names


@pytest.mark.parametrize(
    ("interface", "address", "counts"),
    [
        ("eth0", "192.168.1.5", True),
        ("wlan0", "10.1.2.3", True),
        ("en0", "172.20.0.4", True),
        ("tailscale0", "100.64.0.9", True),
        ("docker0", "172.17.0.1", False),
        ("br-1234567890ab", "172.18.0.1", False),
        ("veth1234", "172.18.0.2", False),
        ("virbr0", "192.168.122.1", False),
        ("tun0", "10.8.0.2", False),
        ("lo", "127.0.0.1", False),
        ("lo", "10.0.0.1", False),
        ("eth0", "169.254.3.4", False),
        ("eth0", "fe80::1", False),
        ("eth0", "fd00::2", True),
        ("eth0", "fd00::dead", False),
    ],
)
def test_what_a_phone_reaches(interface: str, address: str, counts: bool) -> None:
    """Addresses of networks with phones; no loopback, link-local, containers or tunnels."""
    stable = {ipaddress.IPv6Address("fd00::2")}
    assert is_lan(interface, ipaddress.ip_address(address), stable) is counts


def test_only_lasting_ipv6_addresses_count() -> None:
    """A privacy address is another one tomorrow, and so is one with a lifetime: the provider's
    prefix changes.
    """
    table = (
        "fd000000000000000000000000000002 04 40 00 82     eth0\n"
        "20010db8000000000000000000000003 04 40 00 00     eth0\n"
        "20010db8000000000000000000000004 04 40 00 01     eth0\n"
        "20010db8000000000000000000000005 04 40 00 a0     eth0\n"
        "20010db8000000000000000000000006 04 40 00 c0     eth0\n"
        "nonsense\n"
    )
    assert stable_ipv6(table) == {ipaddress.IPv6Address("fd00::2")}


def test_this_machine_can_be_looked_at() -> None:
    """Whatever it has, it is no loopback and no link-local address, and a few at most."""
    found = find_identity()
    assert len(found.addresses) <= 16
    assert not any(a.is_loopback or a.is_link_local for a in found.addresses)

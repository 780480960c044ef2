"""Which addresses anything may be fetched from."""

from __future__ import annotations

import pytest

from server.fetch.reach import refused


@pytest.mark.parametrize(
    "address",
    ["93.184.215.14", "1.1.1.1", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::101:101"],
)
def test_public_addresses_may_be_reached(address: str) -> None:
    """Also those that a network without IPv4 writes as IPv6."""
    assert refused(address) is None


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("127.8.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("172.16.0.1", "private"),
        ("192.168.1.1", "private"),
        ("198.18.0.1", "private"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "special"),
        ("100.100.100.200", "metadata"),
        ("168.63.129.16", "metadata"),
        ("192.0.0.192", "special"),
        ("192.88.99.1", "special"),
        ("224.0.0.251", "multicast"),
        ("239.1.1.1", "multicast"),
        ("240.0.0.1", "private"),
        ("255.255.255.255", "private"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::127.0.0.1", "special"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::ffff:0:10.0.0.1", "special"),
        ("64:ff9b::a00:1", "private"),
        ("64:ff9b:1::a00:1", "special"),
        ("2002:7f00:1::", "loopback"),
        ("2001:0:1:2::3", "private"),
        ("2001:1::1", "private"),
        ("2001:20::1", "private"),
        ("2001:db8::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fec0::1", "private"),
        ("fe80::1%eth0", "link-local"),
        ("ff02::1", "multicast"),
        ("100::1", "private"),
        ("4000::1", "special"),
        ("localhost", "no IP"),
        ("0x7f.1", "no IP"),
    ],
)
def test_everything_else_may_not(address: str, kind: str) -> None:
    """This machine, its networks, its cloud's secrets, however they are written. Which of two names of one kind
    Python gives, depends on its version: that it is refused does not."""
    found = refused(address)
    assert found is not None
    assert found == kind or {found, kind} <= {"private", "special"}

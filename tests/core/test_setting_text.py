"""Parsing the values of settings; tests/project/test_config.py has the errors around them."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest

from server.core.setting_text import (
    base_url,
    file_source,
    host_name,
    network,
    origin,
    port_range,
    public_address,
    shown,
    stun_url,
    turn_url,
)


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (network, "10.1.2.3/8", ip_network("10.0.0.0/8")),
        (network, "::ffff:10.0.0.0/104", ip_network("10.0.0.0/8")),
        (network, "::/0", ip_network("::/0")),
        (host_name, "VM.local", "vm.local"),
        (host_name, "fd00:0::2", "fd00::2"),
        (origin, "https://Cam.Example.org:443/", "https://cam.example.org"),
        (stun_url, "stuns:[2001:db8::1]:65535", "stuns:[2001:db8::1]:65535"),
        (turn_url, "turns:t.example.org?transport=tcp", "turns:t.example.org?transport=tcp"),
        (base_url, "https://h:1/v1//", "https://h:1/v1"),
        (file_source, "~/models.toml", "~/models.toml"),
        (file_source, "https://h:1/m.toml?a=b#sha256=00", "https://h:1/m.toml?a=b#sha256=00"),
        (port_range, "1024 - 65535", (1024, 65535)),
        (port_range, "", None),
    ],
)
def test_what_is_read(read: Callable[[str], object], text: str, value: object) -> None:
    """The usual ways of writing one thing are the same thing."""
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (network, "10.0.0.0/33"),
        (public_address, "0.0.0.0"),
        (public_address, "fe80::1"),
        (public_address, "239.0.0.1"),
        (host_name, "vm_1"),
        (origin, "null"),
        (stun_url, "stun://s.example.org"),
        (stun_url, "stun:s.example.org:0"),
        (turn_url, "turn:t.example.org:65536"),
        (turn_url, "turns:t.example.org?transport=udp"),
        (base_url, "http://me:secret@h/v1"),
        (base_url, "http://h:99999/v1"),
        (base_url, "http://h:0/v1"),
        (file_source, "https://h:99999/m.toml"),
        (file_source, "http://h/m.toml"),
        (file_source, "https://me:secret@h/m.toml"),
        (file_source, "file:///etc/passwd"),
        (file_source, "a\x1b[2J"),
        (port_range, "1023-2000"),
        (port_range, "40000"),
    ],
)
def test_what_is_refused(read: Callable[[str], object], text: str) -> None:
    """Anything else would fail later, at a browser or a socket."""
    with pytest.raises(ValueError, match=r"\S"):
        read(text)


def test_what_may_be_a_password_is_not_shown() -> None:
    """Neither in an address nor in what is only nearly one; long values are cut."""
    assert shown("http://me:canary@h/v1, x:canary@y") == "'(hidden)@h/v1, (hidden)@y'"
    assert len(shown("a" * 1000)) < 130

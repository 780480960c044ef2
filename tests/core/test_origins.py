"""Origins: what they are, and which are allowed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.addresses import HostPolicy, OriginPolicy, normalise_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://cam.example.org", "https://cam.example.org"),
        ("HTTPS://Cam.Example.Org:443", "https://cam.example.org"),
        ("http://cam.example.org:80", "http://cam.example.org"),
        ("http://cam.example.org:443", "http://cam.example.org:443"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("null", None),
        ("", None),
        ("https://", None),
        ("https://a/", None),
        ("https://user@a", None),
        ("https://a:0", None),
        ("https://a:65536", None),
        ("https://a b", None),
        ("https://a\n", None),
        ("ftp://a", None),
        ("file://", None),
        ("https://" + "a" * 300, None),
    ],
)
def test_normalise(text: str, origin: str | None) -> None:
    """Case and default ports do not matter; what is no web origin is None."""
    assert normalise_origin(text) == origin


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing(text: str) -> None:
    """Whatever is given, the result is an origin already in its normal form."""
    origin = normalise_origin("http://" + text)
    assert origin is None or normalise_origin(origin) == origin


@pytest.mark.parametrize(
    ("origin", "host", "secure", "allowed"),
    [
        (None, "cam:8000", False, True),
        (None, "192.0.2.1:8000", False, True),
        (None, "evil:8000", False, False),
        (None, None, False, False),
        ("http://cam:8000", "cam:8000", False, True),
        ("http://CAM", "cam:80", False, True),
        ("https://cam", "cam", True, True),
        ("https://cam", "cam:443", True, True),
        # TLS ended by a proxy that does not say so
        ("https://cam", "cam", False, True),
        ("http://cam", "cam", True, False),
        ("http://cam:8000", "cam:8001", False, False),
        ("http://cam", "cam:8000", False, False),
        ("http://evil", "cam", False, False),
        ("http://cam.evil", "cam", False, False),
        ("http://cam", None, False, False),
        ("http://cam", "", False, False),
        ("http://cam", "cam/x", False, False),
        ("null", "cam", False, False),
        ("", "cam", False, False),
    ],
)
def test_same_origin_without_a_list(
    origin: str | None, host: str | None, secure: bool, allowed: bool
) -> None:
    """Without a list a page must be of the host asked; without an Origin the host alone counts."""
    hosts = HostPolicy(["cam", "cam.example.org", "x"])
    assert OriginPolicy((), hosts).allows(origin, host, secure) is allowed


def test_a_list_is_all_there_is() -> None:
    """With a list an origin's host is nothing; with no origin it must be of the list, or ours."""
    policy = OriginPolicy(["https://Cam.example.org:443", "http://localhost:8000"])
    assert policy.allows("https://cam.example.org", "inner:8000", False)
    assert policy.allows("http://localhost:8000", None, True)
    assert policy.allows(None, "cam.example.org:8443", False)
    assert policy.allows(None, "192.0.2.1", False)
    assert not policy.allows(None, "evil", False)
    assert not policy.allows("http://evil", "evil", False)
    assert not policy.allows("http://cam.example.org", "cam.example.org", False)
    assert not policy.allows("null", "cam.example.org", True)
    known = OriginPolicy(["https://cam.example.org"], HostPolicy(["inner"]))
    assert not known.allows("http://inner", "inner", False)
    assert not known.allows("http://127.0.0.1:8000", "127.0.0.1:8000", False)


def test_a_list_of_anything_else_is_refused() -> None:
    """A star or a path in the list is a mistake and said."""
    for bad in ("*", "https://a/b", "null"):
        with pytest.raises(ValueError, match="is no origin"):
            OriginPolicy([bad])


HOSTS = HostPolicy(["cam.example.org", "*.wild.example"], "vm.office.example")


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        *(("127.0.0.1:8000", True), ("[::1]:8000", True), ("192.168.1.5", True)),
        *(("localhost:8000", True), ("a.localhost", True), ("CAM.example.org.:443", True)),
        *(("vm", True), ("vm.local:8000", True), ("vm.office.example", True), ("vm.lan", True)),
        *(("a.wild.example", True), ("a.b.wild.example", False), ("wild.example", False)),
        *(("evil.example", False), ("vm.evil.example", False), ("cam.example.org.evil", False)),
        *(("evillocalhost", False), ("evil-localhost:8000", False)),
        *(("127.0.0.1.evil.example", False), ("localhost.evil.example", False), ("", False)),
        (None, False),
    ],
)
def test_a_strangers_name_gets_nothing(host: str | None, allowed: bool) -> None:
    """Names that the server was given, its own, and addresses; a page of the same name counts only
    there.
    """
    assert HOSTS.allows(host) is allowed
    if host:
        policy = OriginPolicy([], HOSTS)
        assert policy.allows(f"http://{host.lower()}", host, False) in (allowed, False)
        assert policy.knows(host) is allowed
        assert policy.allows(None, host, False) is allowed


def test_without_a_name_of_its_own() -> None:
    """A machine that calls itself nothing lets no empty name in."""
    bare = HostPolicy()
    assert not bare.allows("")
    assert not bare.allows(".local")
    assert bare.allows("10.0.0.1")

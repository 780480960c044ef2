"""Client addresses behind proxies, and the limit for each of them."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core import addresses
from server.core.addresses import (
    UNKNOWN,
    HostPolicy,
    Limiter,
    OriginPolicy,
    get_client_address,
    get_limiter_key,
    is_secure,
    is_trusted,
    normalise_origin,
    parse_address,
)

PROXIES = (ip_network("127.0.0.1"), ip_network("::1"), ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:555 ", "192.0.2.1"),
        ("[2001:db8::1]:555", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unknown", None),
        ("", None),
        (None, None),
        ("1" * 101, None),
    ],
)
def test_parse(text: str | None, address: str | None) -> None:
    """Addresses are read in all the ways proxies write them."""
    assert parse_address(text) == (None if address is None else parse_address(address))
    if address is not None:
        assert str(parse_address(text)) == address


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        ("192.0.2.1", None, "192.0.2.1"),
        # a stranger's header counts for nothing
        ("192.0.2.1", "203.0.113.5", "192.0.2.1"),
        ("127.0.0.1", None, "127.0.0.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.5", "203.0.113.5"),
        # what the client itself wrote stands on the left
        ("127.0.0.1", "198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("127.0.0.1", "198.51.100.1, 203.0.113.5, 10.0.0.7", "203.0.113.5"),
        ("127.0.0.1", "10.0.0.1, 10.0.0.2", "10.0.0.1"),
        ("127.0.0.1", "203.0.113.5, rubbish", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.5, rubbish, 10.0.0.2", "10.0.0.2"),
        ("::1", "[2001:db8::9]:4711", "2001:db8::9"),
        ("::ffff:127.0.0.1", "203.0.113.5", "203.0.113.5"),
        # a step on each side of the trusted network, also as IPv6 sockets and proxies write it
        ("10.255.255.255", "203.0.113.5", "203.0.113.5"),
        ("11.0.0.0", "203.0.113.5", "11.0.0.0"),
        ("9.255.255.255", "203.0.113.5", "9.255.255.255"),
        ("::ffff:10.0.0.0", "203.0.113.5", "203.0.113.5"),
        ("::ffff:11.0.0.0", "203.0.113.5", "11.0.0.0"),
        ("::2", "203.0.113.5", "::2"),
        ("10.0.0.1", "203.0.113.5, ::ffff:10.0.0.2", "203.0.113.5"),
        ("10.0.0.1", "203.0.113.5, ::ffff:11.0.0.2", "11.0.0.2"),
        ("10.0.0.1", "::ffff:203.0.113.5", "203.0.113.5"),
        # several hops: the first that is none of ours, read from the right
        ("10.0.0.1", "198.51.100.1, 10.0.0.9, 203.0.113.5, 10.0.0.3, 127.0.0.1", "203.0.113.5"),
        (None, "203.0.113.5", UNKNOWN),
        ("testclient", "203.0.113.5", UNKNOWN),
    ],
)
def test_client_address(peer: str | None, header: str | None, expected: str) -> None:
    """The right-most hop that is no proxy of ours is the client."""
    assert get_client_address(peer, header, PROXIES) == expected


def test_only_the_last_hops_are_read() -> None:
    """A header of a hundred proxies costs no more than one of sixteen."""
    header = ", ".join(["203.0.113.5"] + ["10.0.0.1"] * 16)
    assert get_client_address("127.0.0.1", header, PROXIES) == "10.0.0.1"


def test_trust_and_tls() -> None:
    """X-Forwarded-Proto counts from a proxy only, and the nearest one's word at that."""
    assert is_trusted("10.9.9.9", PROXIES)
    assert not is_trusted("192.0.2.1", PROXIES)
    assert is_secure("wss", "192.0.2.1", None, PROXIES)
    assert is_secure("http", "127.0.0.1", "https", PROXIES)
    assert is_secure("ws", "127.0.0.1", "http, HTTPS", PROXIES)
    assert not is_secure("http", "127.0.0.1", "https, http", PROXIES)
    assert not is_secure("http", "192.0.2.1", "https", PROXIES)
    assert not is_secure("http", None, None, PROXIES)


def test_the_limit_holds_to_the_one() -> None:
    """Sixty requests at once pass, the next has to wait a second, and passes after it."""
    limiter = Limiter(60)
    assert [limiter.take("192.0.2.1", 100.0) for _ in range(60)] == [None] * 60
    assert limiter.take("192.0.2.1", 100.0) == pytest.approx(1.0)
    assert limiter.take("192.0.2.1", 100.5) == pytest.approx(0.5)
    assert limiter.take("192.0.2.1", 101.0) is None
    assert limiter.take("192.0.2.1", 101.0) is not None
    assert limiter.take("192.0.2.2", 101.0) is None


def test_a_full_minute_gives_it_all_back() -> None:
    """After a minute of silence the whole burst is there again, and no more."""
    limiter = Limiter(7)
    for start in (0.0, 60.0, 10_000.0):
        assert [limiter.take("192.0.2.1", start) for _ in range(7)] == [None] * 7
        assert limiter.take("192.0.2.1", start) is not None


@given(st.integers(1, 40), st.lists(st.floats(0, 5), max_size=120))
def test_never_more_than_burst_and_refill(limit: int, gaps: list[float]) -> None:
    """In any stretch of time no more pass than the burst and what was refilled."""
    limiter = Limiter(limit)
    now, passed = 0.0, 0
    for gap in gaps:
        now += gap
        passed += limiter.take("192.0.2.1", now) is None
    assert passed <= limit + now * limit / 60 + 0.1


def test_zero_is_no_limit() -> None:
    """With 0 nothing is refused and nothing is kept."""
    limiter = Limiter(0)
    assert all(limiter.take("192.0.2.1", 0.0) is None for _ in range(1000))
    assert len(limiter) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address unheard of for longest is forgotten, and counted if that gave it anything."""
    monkeypatch.setattr(addresses, "MAX_KEYS", 3)
    limiter = Limiter(2)
    for number in range(10):
        limiter.take(f"192.0.2.{number}", float(number))
    assert len(limiter) == 3
    assert limiter.forgotten == 7
    assert limiter.take("192.0.2.9", 9.0) is None
    assert limiter.take("192.0.2.9", 9.0) is not None
    limiter.take("198.51.100.1", 1e6)
    assert limiter.forgotten == 7


def test_one_ipv6_network_is_one_asker() -> None:
    """Addresses of one /64 share a bucket, neighbours do not; garbage shares one bucket."""
    assert get_limiter_key("2001:db8:0:1::5") == get_limiter_key("2001:db8:0:1:ffff::9")
    assert get_limiter_key("2001:db8:0:1::5") != get_limiter_key("2001:db8:0:2::5")
    assert get_limiter_key("::ffff:192.0.2.1") == get_limiter_key("192.0.2.1")
    assert get_limiter_key("what") == get_limiter_key("ever") == UNKNOWN


# Origins: what they are, and which are allowed.


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
    policy = OriginPolicy(["https://cam.example.org", "http://localhost:8000"], HostPolicy())
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
    """Given names, its own and addresses get in; a page of the same name counts only there."""
    assert HOSTS.allows(host) is allowed
    if host:
        policy = OriginPolicy([], HOSTS)
        assert policy.allows(f"http://{host.lower()}", host, False) in (allowed, False)
        assert policy.allows_host(host) is allowed
        assert policy.allows(None, host, False) is allowed


def test_without_a_name_of_its_own() -> None:
    """A machine that calls itself nothing lets no empty name in."""
    bare = HostPolicy()
    assert not bare.allows("")
    assert not bare.allows(".local")
    assert bare.allows("10.0.0.1")

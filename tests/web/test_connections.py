"""The bounds on connections: which one is closed for another, and the count of each host."""

from __future__ import annotations

from ipaddress import ip_network

from server.web.protocols import Connections


class Transport:
    """A stand-in for a transport and the HTTP connection on it."""

    def __init__(self, host: str, *, evictable: bool = False, since: float = 0.0) -> None:
        self.host, self.evictable, self.waiting_since = host, evictable, since
        self.aborted = False

    def get_extra_info(self, name: str) -> tuple[str, int]:
        assert name == "peername"
        return self.host, 1234

    def abort(self) -> None:
        self.aborted = True


def test_unproven_ones_have_a_share_of_their_own() -> None:
    """Eighty places, ten for unended requests and sockets without a token; the oldest goes."""
    connections = Connections(80)
    pending = [Transport(f"192.0.2.{n}") for n in range(15)]
    for one in pending:
        assert connections.opened(one, one)
        connections.unproven(one)
        connections.unproven(one)
    assert [one.aborted for one in pending] == [True] * 5 + [False] * 10
    assert (connections.closed_unproven, connections.refused, len(connections)) == (5, 0, 10)


def test_an_address_has_a_quarter_of_that_share() -> None:
    """Those of one address make room for its own newer ones, not those of others."""
    connections = Connections(160)
    other = Transport("192.0.2.9")
    assert connections.opened(other, other)
    connections.unproven(other)
    mine = [Transport("192.0.2.1") for _ in range(8)]
    for one in mine:
        connections.opened(one, one)
        connections.unproven(one)
    assert not other.aborted
    assert [one.aborted for one in mine] == [True] * 3 + [False] * 5


def test_the_address_with_the_most_makes_room() -> None:
    """An honest one that is older than all of a flood's stays."""
    connections = Connections(80)
    honest = Transport("192.0.2.200")
    connections.opened(honest, honest)
    connections.unproven(honest)
    flood = [Transport(f"192.0.2.{n % 6}") for n in range(60)]
    for one in flood:
        connections.opened(one, one)
        connections.unproven(one)
    assert not honest.aborted
    assert sum(not one.aborted for one in flood) == 9


def test_a_proven_one_is_left_alone() -> None:
    """A whole request and a token that is good take a connection out of that share."""
    connections = Connections(16)
    first = Transport("192.0.2.1")
    connections.opened(first, first)
    connections.upgraded(first)
    connections.proven(first)
    connections.proven(first)
    for _ in range(10):
        other = Transport("192.0.2.1")
        connections.opened(other, other)
        connections.unproven(other)
    assert not first.aborted


def test_unproven_ones_make_room_before_idle_ones() -> None:
    """With all places taken; then the one that has waited longest, and one that works never."""
    connections = Connections(4)
    works = Transport("192.0.2.1")
    young = Transport("192.0.2.2", evictable=True, since=8.0)
    old = Transport("192.0.2.3", evictable=True, since=7.0)
    pending = Transport("192.0.2.4")
    for one in (works, young, old, pending):
        assert connections.opened(one, one)
    connections.unproven(pending)
    late = [Transport(f"192.0.2.{n}") for n in range(5, 9)]
    assert [connections.opened(one, one) for one in late] == [True, True, True, False]
    assert [one.aborted for one in (works, young, old, pending)] == [False, True, True, True]
    assert connections.refused == 1


def test_a_proxy_has_no_share_of_an_address() -> None:
    """All of its clients come from it: only the share of all holds."""
    connections = Connections(160, [ip_network("192.0.2.1/32")])
    through = [Transport("192.0.2.1") for _ in range(30)]
    for one in through:
        connections.opened(one, one)
        connections.unproven(one)
    assert sum(one.aborted for one in through) == 10


def test_nothing_is_kept_of_what_is_gone() -> None:
    connections = Connections(10)
    for n in range(100):
        one = Transport(f"192.0.2.{n}")
        connections.opened(one, one)
        connections.unproven(one)
        connections.lost(one)
        connections.lost(one)
    assert len(connections) == 0
    assert not connections._unproven
    assert not connections._unproven_by_address
    assert not connections._by_address

"""A connection's sockets and the addresses its answer names."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from ipaddress import ip_address
from typing import Any

import aioice
import aioice.ice
import pytest

from server.core.errors import PortsExhausted
from server.media.patches import ice as module
from server.media.patches.ice import Gathering, get_own_addresses
from tests.support.clients import http, metric
from tests.support.fakes_app import assert_error
from tests.support.fakes_rtc import camera_peer, live_encoder, webrtc_side
from tests.support.running import running

OWN = ["127.0.0.1", "127.0.0.2"]


@pytest.fixture
def taken() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def take(stack: ExitStack, port: int, address: str = "127.0.0.1") -> None:
    sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((address, port))


def free_range(size: int) -> tuple[int, int]:
    """Ports next to each other that nothing uses on the addresses of OWN."""
    for low in range(42_000, 60_000, size):
        with ExitStack() as stack:
            try:
                for port in range(low, low + size):
                    for address in (*OWN, "0.0.0.0"):
                        with ExitStack() as one:
                            take(one, port, address)
                return low, low + size - 1
            except OSError:
                stack.close()
    raise AssertionError("no free ports")


@asynccontextmanager
async def gather(
    gathering: Gathering, own: list[str] = OWN
) -> AsyncIterator[tuple[aioice.Connection, list[tuple[str, int, str]]]]:
    """A connection, closed at the end, and its candidates: address, port, type."""
    connection = aioice.Connection(ice_controlling=False)
    gathering.attach(connection)
    try:
        found = await connection.get_component_candidates(component=1, addresses=own)
        yield connection, [(c.host, c.port, c.type) for c in found]
    finally:
        await connection.close()


async def refused(gathering: Gathering, own: list[str] = OWN) -> PortsExhausted:
    with pytest.raises(PortsExhausted) as caught:
        async with gather(gathering, own):
            ...
    return caught.value


async def test_one_port_of_the_range_for_each_address() -> None:
    """Two connections share a range; each takes a port of every own address, in turn."""
    low, high = free_range(4)
    gathering = Gathering(ports=(low, high))
    async with gather(gathering) as (_, first), gather(gathering) as (_, second):
        ports = [port for _, port, _ in first + second]
        assert sorted(ports) == [low, low + 1, low + 2, low + 3]
        assert [host for host, _, _ in first] == OWN


async def test_a_range_that_is_used_up_refuses_and_recovers(
    taken: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken ports are stepped over; with none left the error names the range's size and when to try
    again, and a port that is given back is found.
    """
    monkeypatch.setattr(module, "FULL_SECONDS", 0.05)
    low, high = free_range(2)
    gathering = Gathering(ports=(low, high))
    take(taken, low)
    async with gather(gathering, OWN[:1]) as (_, found):
        assert found == [("127.0.0.1", high, "host")]
        error = await refused(gathering, OWN[:1])
        assert "All 2 media ports" in str(error)
        assert (error.status, error.retryable) == (503, True)
        assert error.retry_after
        await refused(gathering, OWN[:1])
    await asyncio.sleep(0.06)
    async with gather(gathering, OWN[:1]) as (_, found):
        assert found == [("127.0.0.1", high, "host")]


async def test_a_connection_that_finds_no_port_gives_back_what_it_had(taken: ExitStack) -> None:
    """The first address got its port, the second none: closing frees the first."""
    low, high = free_range(1)
    take(taken, low, OWN[1])
    await refused(Gathering(ports=(low, high)))
    take(taken, low, OWN[0])


@pytest.mark.parametrize(
    ("public", "named"),
    [
        ([], ["127.0.0.1", "127.0.0.2"]),
        (["203.0.113.9"], ["203.0.113.9"]),
        (["203.0.113.9", "198.51.100.1"], ["203.0.113.9", "198.51.100.1"]),
        (["127.0.0.2"], ["127.0.0.2"]),
        (["203.0.113.9", "127.0.0.2"], ["203.0.113.9", "127.0.0.2"]),
        (["2001:db8::9"], ["127.0.0.1", "127.0.0.2"]),
    ],
)
async def test_addresses_that_answers_name(public: list[str], named: list[str]) -> None:
    """Announced addresses replace the own ones of their family, with the own sockets' ports; one
    that is our own means itself, and when all are, the others get no socket. Priorities differ and
    go down.
    """
    gathering = Gathering(public=[ip_address(address) for address in public])
    async with gather(gathering) as (connection, found):
        hosts = [host for host, _, _ in found]
        assert set(hosts) == set(named)
        assert hosts[0] == named[0]
        assert len(set(found)) == len(found)
        sockets = {p.local_candidate.host: p.local_candidate.port for p in connection._protocols}
        for host, port, kind in found:
            assert kind == "host"
            assert port == sockets.get(host, port)
            assert port in sockets.values()
        priorities = [c.priority for c in gathering._announce(1, connection._protocols)]
        assert priorities == sorted(set(priorities), reverse=True)
        if public == ["127.0.0.2"]:
            assert set(sockets) == {"127.0.0.2"}


async def test_ipv6_has_its_own_announced_address() -> None:
    """An announced IPv6 address goes with IPv6 sockets alone, an IPv4 one with the others."""
    gathering = Gathering(public=[ip_address("203.0.113.9"), ip_address("2001:db8::9")])
    async with gather(gathering, ["127.0.0.1", "::1"]) as (connection, found):
        ports = {p.local_candidate.host: p.local_candidate.port for p in connection._protocols}
        assert found == [
            ("203.0.113.9", ports["127.0.0.1"], "host"),
            ("2001:db8::9", ports["::1"], "host"),
        ]


async def test_an_address_that_is_gone_is_stepped_over() -> None:
    """Between listing and binding a network may go; the others serve."""
    async with gather(Gathering(), ["192.0.2.77", "127.0.0.1"]) as (_, found):
        assert [host for host, _, _ in found] == ["127.0.0.1"]


class StunServer(asyncio.DatagramProtocol):
    """Says that everybody comes from `seen`, or nothing."""

    def __init__(self, seen: tuple[str, int] | None) -> None:
        self.seen = seen
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        if self.seen is None:
            return
        request = aioice.stun.parse_message(data)
        answer = aioice.stun.Message(
            request.message_method, aioice.stun.Class.RESPONSE, request.transaction_id
        )
        answer.attributes["XOR-MAPPED-ADDRESS"] = self.seen
        self.transport.sendto(bytes(answer), addr)


@asynccontextmanager
async def stun_server(seen: tuple[str, int] | None) -> AsyncIterator[tuple[StunServer, str]]:
    transport, stun = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: StunServer(seen), local_addr=("127.0.0.1", 0)
    )
    yield stun, f"stun:127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    transport.close()


@pytest.mark.parametrize(
    ("seen", "public", "expected"),
    [
        (("203.0.113.7", 4001), [], [("203.0.113.7", 4001, "srflx")]),
        # No NAT between: nothing new.
        (("127.0.0.1", 4001), [], []),
        # Whoever says the address is not asked for another.
        (("203.0.113.7", 4001), ["198.51.100.1"], []),
    ],
)
async def test_stun_adds_the_address_seen_from_outside(
    seen: tuple[str, int], public: list[str], expected: list[Any]
) -> None:
    """A server behind NAT without announced addresses learns its own, a candidate for each socket."""
    async with stun_server(seen) as (stun, url):
        gathering = Gathering(stun_url=url, public=[ip_address(a) for a in public])
        async with gather(gathering, OWN[:1]) as (_, found):
            assert [c for c in found if c[2] == "srflx"] == expected
        assert stun.asked == (not public)


async def test_a_silent_stun_server_delays_one_answer_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer waits for its deadline and goes without; the next ones do not ask."""
    monkeypatch.setattr(module, "STUN_SECONDS", 0.05)
    async with stun_server(None) as (stun, url):
        gathering = Gathering(stun_url=url)
        for _ in range(2):
            async with gather(gathering, OWN[:1]) as (_, found):
                assert [kind for _, _, kind in found] == ["host"]
        assert stun.asked == 1


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("stun:stun.example.org", ("stun.example.org", 3478)),
        ("stun:stun.example.org:19302", ("stun.example.org", 19302)),
        ("stun:[2001:db8::1]", ("2001:db8::1", 3478)),
        ("stun:[2001:db8::1]:1", ("2001:db8::1", 1)),
    ],
)
def test_stun_urls(url: str, where: tuple[str, int]) -> None:
    """RFC 7064: the port is 3478 unless given."""
    assert module._host_and_port(url) == where


async def test_an_offer_without_a_port_gets_503(taken: ExitStack) -> None:
    """Said with a time to come back, counted, and the session that it would have begun is none."""
    low, high = free_range(1)
    take(taken, low, "0.0.0.0")
    async with (
        running(udp_port_range=f"{low}-{high}", max_sessions=1) as run,
        http(run) as client,
        camera_peer_offer() as sdp,
    ):
        reply = await client.post("/api/webrtc/offer", json={"type": "offer", "sdp": sdp})
        assert_error(reply, 503, "ports_exhausted", retryable=True)
        assert int(reply.headers["retry-after"]) >= 1
        assert metric(run, "errors_total", code="ports_exhausted") == 1
        assert len(run.program.sessions) == 0


@asynccontextmanager
async def camera_peer_offer() -> AsyncIterator[str]:
    async with live_encoder() as encoder, camera_peer(encoder) as peer:
        yield await peer.offer()


def candidates(sdp: str) -> list[tuple[str, int]]:
    return [(m[1], int(m[2])) for m in re.finditer(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+)", sdp)]


async def test_a_camera_connects_by_ports_of_the_range() -> None:
    """A real peer's answer names ports of the range alone; a second camera finds it used up."""
    low, high = free_range(1)
    gathering = Gathering(ports=(low, high))
    async with (
        live_encoder() as encoder,
        webrtc_side(gathering=gathering) as side,
        camera_peer(encoder) as peer,
        camera_peer(encoder) as late,
    ):
        answer = await side.connect(await peer.offer())
        assert {port for _, port in candidates(answer)} == {low}
        assert {host for host, _ in candidates(answer)} <= set(get_own_addresses())
        await peer.accept(answer)
        await side.frames_of(count=1)
        with pytest.raises(PortsExhausted):
            await side.connect(await late.offer(), "late")
        await side.frames_of(count=1)
        assert len(side.server) == 1

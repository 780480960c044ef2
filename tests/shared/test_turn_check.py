"""The check of TURN servers, against a real coturn in a network of its own, configured as deploy/
has it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from server.auth import turn_credentials
from server.shared import turn_check
from server.shared.turn_check import RelayProblem, RelayResult, _FarEnd, check_relay
from tests.support.namespaces import Namespace, Network, require
from tests.support.timing import AT_ONCE_SECONDS
from tests.support.turn_server import (
    SECRET,
    Certificate,
    TurnServer,
    configuration,
    make_certificate,
    turn_server,
)

RELAY, SERVER, OTHER = "10.99.2.1", "10.99.2.2", "10.99.2.3"
UDP, TCP, TLS = (
    f"turn:{RELAY}:3478?transport=udp",
    f"turn:{RELAY}:3478?transport=tcp",
    f"turns:{RELAY}:443?transport=tcp",
)


@dataclass
class Room:
    server: Namespace
    certificate: Certificate
    coturn: TurnServer

    async def check(
        self,
        url: str,
        *,
        secret: str = SECRET,
        ttl: int = 600,
        trusted: bool = True,
        **options: Any,
    ) -> RelayResult:
        username, password = turn_credentials(secret, ttl, "check", time.time())
        tls = self.certificate.client_context() if trusted else None
        return await self.server.inside(
            lambda: check_relay(url, username, password, tls=tls, **options)
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def room(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Room]:
    """A relay and a server on one cable; the relay may send to SERVER, which has OTHER as well."""
    require("turnserver")
    folder = tmp_path_factory.mktemp("turn")
    with Network() as net:
        relay, server = net.namespace("relay"), net.namespace("server")
        net.cable(relay, f"{RELAY}/24", server, (f"{SERVER}/24", f"{OTHER}/24"))
        server.route("default", via=RELAY)
        relay.route("default", via=SERVER)
        certificate = make_certificate(folder, RELAY)
        text = configuration(RELAY, certificate, allowed=[SERVER, "192.31.196.1"], more=["verbose"])
        async with turn_server(relay, RELAY, folder, text) as coturn:
            yield Room(server, certificate, coturn)


in_room = pytest.mark.asyncio(loop_scope="module")


@in_room
@pytest.mark.parametrize("url", [UDP, TCP, TLS])
async def test_a_relay_that_works(room: Room, url: str) -> None:
    """Over each transport a datagram goes through and back, and the allocation is given back."""
    result = await room.check(url, addresses=[SERVER])
    assert (result.ok, result.why, result.url) == (True, "", url)
    assert result.seconds < AT_ONCE_SECONDS
    assert "REFRESH processed, success" in room.coturn.said.rpartition("ALLOCATE processed")[2]


@in_room
@pytest.mark.parametrize("url", [UDP, TCP, TLS])
@pytest.mark.parametrize("wrong", [{"secret": "another"}, {"ttl": -5}])
async def test_wrong_and_expired_credentials(room: Room, url: str, wrong: dict[str, Any]) -> None:
    """Both are refused with 401, which names secret, mode and clocks; no credentials are shown."""
    result = await room.check(url, addresses=[SERVER], **wrong)
    assert result.problem is RelayProblem.CREDENTIALS
    for word in ("401", "TURN_SECRET", "use-auth-secret", "clocks"):
        assert word in result.why
    assert SECRET not in result.why


@in_room
async def test_a_denied_peer(room: Room) -> None:
    """A private address that is not allowed gets 403, which names the address and what to change."""
    result = await room.check(UDP, addresses=[OTHER])
    assert result.problem is RelayProblem.DENIED_PEER
    for word in ("403", OTHER, "allowed-peer-ip", "PUBLIC_ADDRESSES"):
        assert word in result.why


@in_room
async def test_one_address_that_is_reached_is_enough(room: Room) -> None:
    """As in ICE: the relay has to reach one of several addresses, or the one that it sees."""
    assert (await room.check(UDP, addresses=[OTHER, SERVER])).ok
    assert (await room.check(UDP, addresses=[OTHER], reflexive=True)).ok
    assert (await room.check(UDP)).ok


@in_room
async def test_no_way_back(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that the relay may send to leads elsewhere: said after its deadline."""
    monkeypatch.setattr(turn_check, "ECHO_SECONDS", 0.5)
    result = await room.check(UDP, addresses=["192.31.196.1"])
    assert result.problem is RelayProblem.NO_WAY_BACK
    assert "192.31.196.1" in result.why
    assert result.seconds < AT_ONCE_SECONDS
    result = await room.check(UDP, addresses=["2001:4:112::1"])
    assert "no IPv4 address" in result.why


@in_room
async def test_a_certificate_that_does_not_hold(room: Room) -> None:
    """An unknown authority is a fault of its own, as for browsers; so is a port without TLS."""
    result = await room.check(TLS, addresses=[SERVER], trusted=False)
    assert result.problem is RelayProblem.CERTIFICATE
    assert RELAY in result.why


@in_room
@pytest.mark.parametrize(
    ("url", "word"),
    [
        (f"turn:{RELAY}:3999?transport=tcp", "connection refused"),
        (f"turn:{RELAY}:3999", "UDP port 3999"),
        ("turn:nowhere..invalid:3478", "resolved"),
    ],
)
async def test_what_can_not_be_reached(
    room: Room, monkeypatch: pytest.MonkeyPatch, url: str, word: str
) -> None:
    """A closed port, a silent one and an unknown name each have their sentence, in time."""
    monkeypatch.setattr(turn_check, "ALLOCATE_SECONDS", 0.5)
    result = await room.check(url, addresses=[SERVER])
    assert result.problem is RelayProblem.UNREACHABLE
    assert word in result.why
    assert result.seconds < AT_ONCE_SECONDS


@in_room
async def test_what_is_no_turn_url(room: Room) -> None:
    """Said as such, and nothing is tried."""
    for url in ("http://x", "stun:x", "turn:", "turn:x?transport=sctp"):
        assert (await room.check(url, addresses=[SERVER])).problem is RelayProblem.URL


@pytest.mark.parametrize("data", [b"", b"\xffanswer", b"\xffanswer12345679", b"\xffask12345678"])
def test_only_its_own_answer_counts(data: bytes) -> None:
    """A stranger's datagram, or one of another check, proves nothing."""
    far = _FarEnd(b"12345678")
    far.datagram_received(data, ("192.0.2.1", 9))
    assert not far.answered.is_set()
    far.datagram_received(b"\xffanswer12345678", ("192.0.2.1", 9))
    assert far.answered.is_set()


def refuses(sock: Any, address: str) -> None:
    raise RuntimeError("none is free")


@in_room
async def test_the_socket_comes_from_the_media_ports(room: Room) -> None:
    """`bind` gives the port; when it has none, an error says so."""
    ports = []

    def bind(sock: Any, address: str) -> None:
        sock.bind((address, 50123))
        ports.append(sock.getsockname()[1])

    assert (await room.check(UDP, addresses=[SERVER], bind=bind)).ok
    assert ports == [50123]
    result = await room.check(UDP, addresses=[SERVER], bind=refuses)
    assert result.problem is RelayProblem.NO_SOCKET

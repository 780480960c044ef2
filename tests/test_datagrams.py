"""The check in front of aioice: a guard against changes underneath, and who may send what."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from types import SimpleNamespace
from typing import Any

import aioice.ice
import pytest

from server.rtc.datagrams import STOCK, STOCK_CONSENT, checked, install


def test_the_stock_datagram_handler_has_not_changed() -> None:
    """The one function of aioice that is wrapped is the one that was read."""
    source = inspect.getsource(STOCK)
    assert hashlib.sha256(source.encode()).hexdigest()[:12] == "ff4c8b910d45"


@pytest.mark.parametrize(
    ("thing", "known"),
    [
        (aioice.ice.CandidatePair, "774b28dfe5e6"),
        (aioice.ice.Connection.check_incoming, "cb3e32bd47e5"),
        (STOCK_CONSENT, "fe49173a650a"),
        (aioice.ice.Connection.connect, "da51be461901"),
        (aioice.ice.Connection.close, "25dcfac536f5"),
    ],
)
def test_what_is_relied_on_has_not_changed(thing: Any, known: str) -> None:
    """Pairs have a state, an address and the mark that the other side nominated them; who asks for consent, and when."""
    assert hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:12] == known


State = aioice.ice.CandidatePair.State


@pytest.mark.parametrize(
    ("data", "addr", "state", "passes"),
    [
        (b"\x16dtls", ("192.0.2.1", 5000), "nominated", True),
        (b"\x16dtls", ("192.0.2.1", 5000), State.SUCCEEDED, True),
        (b"\x80rtp", ("192.0.2.1", 5000, 0, 0), State.SUCCEEDED, True),
        (b"\x16dtls", ("192.0.2.1", 5001), State.SUCCEEDED, False),
        (b"\x16dtls", ("192.0.2.9", 5000), State.SUCCEEDED, False),
        (b"\x15alert", ("192.0.2.1", 5000), State.IN_PROGRESS, False),
        (b"\x00\x01stun", ("192.0.2.9", 1), State.IN_PROGRESS, True),
        (b"", ("192.0.2.1", 5000), State.SUCCEEDED, False),
    ],
)
def test_only_checked_addresses_may_send_anything_but_stun(
    data: bytes, addr: tuple[Any, ...], state: Any, passes: bool
) -> None:
    """A datagram that is not STUN goes on only from an address whose connectivity check succeeded."""
    got: list[bytes] = []
    handler = checked(lambda self, data, addr: got.append(data))
    protocol = SimpleNamespace()
    pair = SimpleNamespace(
        protocol=protocol,
        remote_addr=("192.0.2.1", 5000),
        state=State.IN_PROGRESS if state == "nominated" else state,
        remote_nominated=state == "nominated",
    )
    protocol.receiver = SimpleNamespace(_check_list=[pair], ice_controlling=False)
    handler(protocol, data, addr)
    assert got == ([data] if passes else [])


@pytest.mark.parametrize(("port", "passes"), [(5000, True), (5001, False)])
def test_the_side_that_nominates_takes_any_candidate_that_was_told(port: int, passes: bool) -> None:
    """It has stopped checking, and the other may send on a pair that it never finished; a stranger still may not."""
    got: list[bytes] = []
    handler = checked(lambda self, data, addr: got.append(data))
    protocol = SimpleNamespace()
    pair = SimpleNamespace(
        protocol=protocol,
        remote_addr=("192.0.2.1", 5000),
        state=State.IN_PROGRESS,
        remote_nominated=False,
    )
    protocol.receiver = SimpleNamespace(_check_list=[pair], ice_controlling=True)
    handler(protocol, b"\x16dtls", ("192.0.2.1", port))
    assert bool(got) is passes


async def test_a_closed_connection_asks_for_nothing_more() -> None:
    """Consent begins when the checks succeed, which may be after the connection was closed."""
    install()
    connection = aioice.ice.Connection(ice_controlling=True)
    await connection.close()
    async with asyncio.timeout(1):
        await connection.query_consent()

"""ICE restarts that come to nothing. One that works: test_whip.py."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aioice
import aioice.ice
import pytest

from server.core.errors import Conflict
from server.features.cameras.whip import WhipSession
from server.webrtc_server import PeerConnection
from tests.media.conftest import peer, side
from tests.media.test_webrtc_server import CHROMIUM, show
from tests.support.fakes_rtc import Peer, Side

__all__ = ["peer", "side"]
PASSWORD = "0123456789012345678901"


async def shown(side: Side, peer: Peer) -> tuple[PeerConnection, Any]:
    """A connection with a picture, and its ICE transport."""
    await show(side, peer)
    connection = side.server.get("a")
    return connection, connection.ice


def connections(side: Side, monkeypatch: pytest.MonkeyPatch) -> list[aioice.Connection]:
    """Note the ICE connections of a camera's restarts, as they are made."""
    gathering = side.server.get("a").gathering
    made: list[aioice.Connection] = []
    attach = gathering.attach

    def noted(connection: aioice.Connection) -> None:
        made.append(connection)
        attach(connection)

    monkeypatch.setattr(gathering, "attach", noted)
    return made


async def test_a_restart_that_finds_nobody_leaves_the_connection_as_it_was(
    side: Side, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client never comes with its new credentials: the old ICE session counts again."""
    connection, transport = await shown(side, peer)
    connection.connect_seconds = 0.2
    old = transport._connection
    made = connections(side, monkeypatch)
    fragment = await WhipSession(connection).restart_ice("abcd", PASSWORD)
    assert "a=ice-ufrag:" in fragment
    # On a busy machine its time may be over by now.
    (new,) = made
    assert new is not old
    # Frames come on over the old path meanwhile.
    await side.frames_of(count=2)
    await side.until(lambda: transport._connection is old, 3)
    await side.until(lambda: new._closed)
    assert not old._closed
    consent = old._query_consent_task
    assert consent is not None
    assert not consent.done()
    await side.frames_of(count=2)
    assert side.server.get("a") is connection


async def test_a_newer_restart_takes_the_place_of_one_that_goes_on(side: Side, peer: Peer) -> None:
    """Its connection is closed, and one is open beside the old one, however often it is asked for."""
    connection, transport = await shown(side, peer)
    tried = []
    whip = WhipSession(connection)
    tags = {whip.ice_tag}
    for number in range(4):
        await whip.restart_ice(f"abc{number}", PASSWORD)
        tried.append(transport._connection)
        tags.add(whip.ice_tag)
    assert [c._closed for c in tried] == [True, True, True, False]
    assert len(tags) == 5
    await side.frames_of(count=2)
    assert await side.server.disconnect("a")
    assert tried[-1]._closed


async def test_candidates_of_earlier_ice_sessions_are_not_kept(side: Side, peer: Peer) -> None:
    """Each restart may bring as many as an offer: once the description grew by 4 MiB with each."""
    connection, transport = await shown(side, peer)
    whip = WhipSession(connection)
    before = connection._pc.remoteDescription.sdp
    for number in range(3):
        await whip.restart_ice(f"abc{number}", PASSWORD)
        text = f"candidate:1 1 udp 1 192.0.2.{number + 1} 5000 typ host"
        assert await connection.add_candidates([{"candidate": text}]) == 1
        assert [c.ip for c in transport.getRemoteCandidates()] == [f"192.0.2.{number + 1}"]
    assert connection._pc.remoteDescription.sdp == before


async def test_restarts_at_the_same_moment_leave_no_socket(
    side: Side, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the last are closed, and once were not; so is one whose camera ends meanwhile."""
    await show(side, peer)
    made = connections(side, monkeypatch)
    whip = WhipSession(side.server.get("a"))
    await asyncio.gather(*(whip.restart_ice(f"abc{n}", PASSWORD) for n in range(8)))
    assert [one._closed for one in made] == [True] * 7 + [False]
    late = asyncio.create_task(whip.restart_ice("late", PASSWORD))
    await asyncio.sleep(0)
    assert await side.server.disconnect("a")
    with suppress(Conflict):
        await late
    assert all(one._closed for one in made)
    assert not any(protocol for one in made for protocol in one._protocols)


async def test_before_a_connection_there_is_nothing_to_restart(side: Side) -> None:
    """Refused in words, and the connection may still come."""
    await side.connect(CHROMIUM)
    with pytest.raises(Conflict):
        await WhipSession(side.server.get("a")).restart_ice("abcd", PASSWORD)

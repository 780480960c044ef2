"""Strangers who know where a server listens end nothing, get no answer and leave nothing."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aioice.ice
import pytest

from server.core.frames import CameraState
from server.media.patches import datagrams
from tests.support import hostile
from tests.support.fakes_rtc import Peer, Side, live_encoder, webrtc_side

pytestmark = pytest.mark.slow

AT_A_TIME = 10


async def attacked_connects(
    side: Side, encoder: Any, stranger: hostile.Stranger, numbers: range, seconds: float
) -> int:
    """So many peers connect at a time, every second one as the DTLS server; how many got there."""
    peers = [Peer(encoder) for _ in numbers]
    try:
        answers = []
        for number, peer in zip(numbers, peers, strict=True):
            offer = await peer.offer()
            if number % 2:
                peer.sender.transport._set_role("server")
                offer = offer.replace("a=setup:actpass", "a=setup:passive")
            answers.append(await side.connect(offer, f"peer{number}"))
            expected = "active" if number % 2 else "passive"
            assert f"a=setup:{expected}" in answers[-1]
        stranger.aim(answers)
        stranger.fire()
        for peer, answer in zip(peers, answers, strict=True):
            await peer.accept(answer)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            connected = sum(
                peer.pc.connectionState == "connected"
                and number_is_connected(side, f"peer{number}")
                for number, peer in zip(numbers, peers, strict=True)
            )
            if connected == len(peers):
                break
            await asyncio.sleep(0.01)
        return connected
    finally:
        stranger.ports = set()
        await asyncio.gather(
            *(side.server.disconnect(f"peer{number}") for number in numbers),
            *(peer.close() for peer in peers),
        )


def number_is_connected(side: Side, key: str) -> bool:
    connection = side.server._connections.get(key)
    return connection is not None and connection._pc.connectionState == "connected"


async def test_a_hundred_connects_under_hostile_datagrams() -> None:
    """All of them connect, in both DTLS roles, while a stranger sends to every port: row 15 of
    docs/figures/newest.json.
    """
    trouble: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: trouble.append(context))
    before = datagrams.refused.copy()
    async with live_encoder(160, 120) as encoder, webrtc_side() as side:
        async with hostile.stranger() as stranger:
            connected = 0
            for first in range(0, 100, AT_A_TIME):
                numbers = range(first, first + AT_A_TIME)
                connected += await attacked_connects(side, encoder, stranger, numbers, 15)
        print(f"{connected} of 100 connected under {stranger.sent} hostile datagrams")
        assert connected == 100
        assert stranger.sent > 10_000
    refused = datagrams.refused - before
    assert min(refused[reason] for reason in ("stranger", "stun", "size")) > 100
    assert trouble == []


async def test_without_the_check_nobody_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    """With aioice's own handler the same stranger ends them: the hundred above are not luck."""
    asyncio.get_running_loop().set_exception_handler(lambda _, context: None)
    async with (
        live_encoder(160, 120) as encoder,
        webrtc_side(connect_seconds=3.0) as side,
        hostile.stranger() as stranger,
    ):
        monkeypatch.setattr(aioice.ice.StunProtocol, "datagram_received", datagrams.STOCK)
        connected = await attacked_connects(side, encoder, stranger, range(AT_A_TIME), 2)
        print(f"stock: {connected} of {AT_A_TIME} connected")
        assert connected == 0


@pytest.mark.parametrize("forged", [False, True])
async def test_another_certificate_than_the_offers_gets_nothing_in(forged: bool) -> None:
    """A peer whose certificate is not the one of its offer never becomes a camera; one that has the
    right one does.
    """
    async with live_encoder(160, 120) as encoder, webrtc_side() as side:
        peer = Peer(encoder)
        offer = "\r\n".join(
            wrong_fingerprint(line) if forged and line.startswith("a=fingerprint:") else line
            for line in (await peer.offer()).split("\r\n")
        )
        await peer.accept(await side.connect(offer))
        if forged:
            await side.until(lambda: side.camera().state() is CameraState.ENDED)
            assert side.frames["a"] == []
        else:
            await side.frames_of()
        await peer.close()


def wrong_fingerprint(line: str) -> str:
    """Of the same form and with the same hash."""
    kind, _, digest = line.partition(" ")
    return kind + " " + ":".join(reversed(digest.split(":")))

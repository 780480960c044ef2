"""A real sender's packets without send times (abs-send-time not negotiated), over a narrow link."""

from __future__ import annotations

import asyncio
import statistics

import pytest

from benchmarks.link import Link, LinkRelay
from scripts.bench.camera_peer import CameraPeer
from scripts.bench.live_encoder import LiveEncoder, Scene
from tests.support.clients import soon
from tests.support.running import running

pytestmark = [pytest.mark.slow, pytest.mark.alone]

RATE = 500e3


class Untimed(LinkRelay):
    """Takes the extension out of the offer, too."""

    @staticmethod
    def rewrite_offer(sdp: str) -> str:
        lines = [line for line in sdp.splitlines() if not line.endswith("abs-send-time")]
        assert len(lines) < len(sdp.splitlines())
        return LinkRelay.rewrite_offer("\r\n".join(lines))


class Linked(CameraPeer):
    """A camera with this relay before the server."""

    def __init__(self, base_url: str, encoder: LiveEncoder, relay: LinkRelay) -> None:
        super().__init__(base_url, encoder, wake=True)
        self._relay = relay

    async def send_offer(self, sdp: str) -> str:
        answer = await super().send_offer(self._relay.rewrite_offer(sdp))
        return await self._relay.rewrite_answer(answer)


async def test_the_path_is_found_and_not_filled() -> None:
    """Asleep and awake on 500 kbit/s: the page's orders fit, frames that are asked for are
    young, and the queue drops nothing; back at sleep it is still known.
    """
    up = Link(rate=RATE, delay=0.02)
    encoder = LiveEncoder(Scene(640, 360), rate=2, bits_per_frame=40_000)
    async with running(rate_limit_per_minute=0) as run:
        relay = Untimed(up=up, down=Link(delay=0.02))
        peer = Linked(run.base_url, encoder, relay)
        async with relay, peer:
            assert "abs-send-time" not in peer.answer["sdp"]
            camera = run.program.sessions.find(peer.session_id).camera
            await soon(lambda: camera.newest is not None)
            dropped = up.dropped_full
            await peer.type_for(2.5)
            awake = peer.rate.plan["awake"]
            assert 0.4 * RATE < awake["max_bitrate"] < 0.85 * RATE
            assert 6 <= awake["max_framerate"] <= 10
            assert camera.fps() > 4
            # From the first packet on the way to the newest frame: a frame takes 80 ms here.
            ages = []
            for _ in range(10):
                newest = camera.newest
                await soon(lambda newest=newest: camera.newest is not newest)  # type: ignore[misc]
                frame = camera.newest
                assert frame is not None
                assert frame.captured_sender is not None
                ages.append(asyncio.get_running_loop().time() - frame.captured)
                peer.rate.wake()
            # Most of them: a busy machine may be late with one, a filled queue is late with all.
            assert statistics.median(ages) < 0.25
            assert up.dropped_full == dropped
            await peer.rate.wait_idle()
            assert peer.rate.plan["idle"]["max_bitrate"] < RATE / 2
    await encoder.close()

"""Many cameras from little work: a few encoders, each at its own phase, feed all of them."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from benchmarks.microphones import peer_type, switch_on
from scripts.bench.camera_peer import CameraPeer, close_all
from scripts.bench.live_encoder import TICKS, LiveEncoder, Scene

# Connecting is expensive on both sides; so many at a time.
AT_ONCE = 8


class CameraBank:
    """Cameras at one steady rate, which nothing wakes.

    Their frames are spread over the period, as real ones are.
    """

    def __init__(
        self, base_url: str, *, rate: float, seed: int = 0, microphone: bool = False
    ) -> None:
        self.base_url = base_url
        self.rate = rate
        self._kind = peer_type(microphone)
        self.peers: list[CameraPeer] = []
        scene = Scene(seed=seed)
        phases = max(1, round(TICKS / rate))
        self._encoders = [LiveEncoder(scene, rate=rate, phase=phase) for phase in range(phases)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.empty()
        for encoder in self._encoders:
            await encoder.close()

    async def grow(self, count: int) -> None:
        """Connect cameras, each with its socket, until there are `count`."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def add(number: int) -> None:
            peer = self._kind(self.base_url, self._encoders[number % len(self._encoders)])
            async with limit:
                try:
                    await peer.connect(timeout=30)
                    await peer.open_socket()
                    await switch_on(peer)
                except BaseException:
                    await peer.close()
                    raise
                self.peers.append(peer)

        async with asyncio.TaskGroup() as group:
            for number in range(len(self.peers), count):
                group.create_task(add(number))

    async def empty(self) -> None:
        """End every camera."""
        peers, self.peers = self.peers, []
        for i in range(0, len(peers), AT_ONCE):
            await close_all(peers[i : i + AT_ONCE])

    def bits_sent(self) -> int:
        return 8 * sum(peer.track.bytes for peer in self.peers if peer.track)

    def frames_sent(self) -> int:
        return sum(peer.track.sent for peer in self.peers if peer.track)

    def frames_dropped(self) -> int:
        """Frames that our own senders were too slow for: anything but 0 spoils a measurement."""
        return sum(peer.dropped for peer in self.peers)

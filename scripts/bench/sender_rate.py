"""Simulate a page's frame rate: low while idle, raised at the first key, low again afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from scripts.bench.live_encoder import TICKS, LiveEncoder

# Seconds awake until the server has sent its own value
AWAKE_S = 1.5


class SenderRate:
    """Follows the server's `sender` blocks on an encoder of its own; with `follow` false it only
    notes them.
    """

    def __init__(self, encoder: LiveEncoder, *, follow: bool) -> None:
        # The newest block
        self.plan: dict[str, Any] = {}
        self._encoder = encoder
        self._follow = follow
        # Time at which the camera becomes idle again; None while idle
        self._asleep: asyncio.TimerHandle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def obey(self, plan: dict[str, Any]) -> None:
        """Take a `sender` block; one without an idle rate counts as none."""
        if "idle" not in plan:
            return
        awake = self._asleep is not None
        self.plan = plan
        if plan.get("wake_ms"):
            self.wake(plan["wake_ms"] / 1000)
        elif self._follow:
            self._limit(plan["awake" if awake else "idle"]["max_framerate"])

    def wake(self, seconds: float | None = None) -> None:
        """Raise the frame rate now; it falls back after `seconds` (the server's own value)."""
        if not self._follow:
            return
        if seconds is None:
            seconds = self.plan.get("awake_ms", AWAKE_S * 1000) / 1000
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        if self._asleep is not None:
            until = max(until, self._asleep.when())
            self._asleep.cancel()
        self._limit(self.plan.get("awake", {}).get("max_framerate", TICKS))
        self._asleep = loop.call_at(until, self._sleep)
        self._idle.clear()

    async def asleep(self) -> None:
        """Wait until the camera is back at its idle rate."""
        await self._idle.wait()

    def close(self) -> None:
        """Forget about falling asleep. Safe to call twice."""
        if self._asleep is not None:
            self._asleep.cancel()

    def _sleep(self) -> None:
        self._asleep = None
        self._idle.set()
        self._limit(self.plan.get("idle", {}).get("max_framerate", 2))

    def _limit(self, max_framerate: float) -> None:
        """A limit above what the camera has is none."""
        self._encoder.rate = min(float(TICKS), max_framerate)

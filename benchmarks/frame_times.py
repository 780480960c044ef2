"""Read the arrival times of a server's frames from its /metrics."""

from __future__ import annotations

import asyncio
import time

from scripts.bench.http_json import request

POLL_S = 0.02


class FrameTimes:
    """The times of one camera's frames."""

    def __init__(self, url: str) -> None:
        self.at: list[float] = []
        self._url = url
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> FrameTimes:
        self._task = asyncio.create_task(self._watch(), name="frame-times")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _count(self) -> int:
        reply = await request("GET", f"{self._url}/metrics")
        for line in reply.body.decode().splitlines():
            if line.startswith("qwen_camera_frames_received_total "):
                return int(float(line.split()[1]))
        return 0

    async def _watch(self) -> None:
        known = await self._count()
        while True:
            await asyncio.sleep(POLL_S)
            count = await self._count()
            if count > known:
                known = count
                self.at.append(time.monotonic())

    async def next(self, since: float, timeout: float) -> float | None:
        """Seconds from `since` to the first frame after it; None when none came within `timeout`."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            found = next((at for at in self.at if at >= since), None)
            if found is not None:
                return found - since
            await asyncio.sleep(POLL_S)
        return None

    def longest_gap(self, start: float, end: float) -> float:
        """Between frames, and from `start` to the first and from the last to `end`."""
        inside = [at for at in self.at if start <= at <= end]
        return max(b - a for a, b in zip([start, *inside], [*inside, end], strict=True))

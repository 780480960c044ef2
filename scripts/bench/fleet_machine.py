"""The measuring machine's own part in a fleet's figures: processors without work, and pauses of the
process that all people and their cameras share.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Iterable
from itertools import pairwise

from scripts.bench.report import idle_and_all
from scripts.bench.usage import Usage

# A camera of five pictures a second that pauses for longer has not got its time; a server that takes
# it for frozen waits for pictures closer together than that (server/media/video/camera_state.py).
PAUSE_SECONDS = 1.2
# Seconds before a question's loss in which a pause explains it: the server calls a camera frozen
# after two, and a question waits three for its picture.
BEFORE_SECONDS = 8.0
_TICK = 0.05


def longest_pause(times: Iterable[float], since: float, now: float) -> float:
    """Return the longest time without any of `times`, which are in order, from `since` to `now`."""
    inside = [since, *(at for at in times if since < at < now), now]
    return max(after - before for before, after in pairwise(inside))


class Machine:
    """Watches this process and its machine. `watch` runs beside the measurement until cancelled."""

    def __init__(self) -> None:
        # When the loop had its turn
        self._turns: deque[float] = deque(maxlen=100_000)

    async def watch(self) -> None:
        while True:
            self._turns.append(time.monotonic())
            await asyncio.sleep(_TICK)

    def since(self) -> Since:
        """Begin a time whose figures are wanted."""
        return Since(self._turns)


class Since:
    """The time since it was made."""

    def __init__(self, turns: deque[float]) -> None:
        self._turns = turns
        self._at = time.monotonic()
        self._ticks = idle_and_all()
        self._usage = Usage.of(os.getpid())

    def figures(self) -> dict[str, float]:
        """Return the idle share of all processors, the cores that the people's process used, and the
        longest time in which it did nothing for them.
        """
        idle, whole = (b - a for a, b in zip(self._ticks, idle_and_all(), strict=True))
        now = time.monotonic()
        pause = longest_pause(list(self._turns), self._at, now) - _TICK
        return {
            "idle_share": round(idle / max(1, whole), 2),
            "people_cores": round(Usage.of(os.getpid()).cores_since(self._usage), 2),
            "pause_max_ms": round(1000 * max(0.0, pause)),
        }

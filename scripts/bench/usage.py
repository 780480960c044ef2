"""Processor time, memory, threads and descriptors of a process, and idle processors, from /proc; pauses of this
process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    # Seconds of processor time so far, user and system, all threads
    cpu: float
    # Resident memory, MiB
    rss: float
    threads: int
    # None for a server that is not ours to look into, as any is for whoever is not root
    descriptors: int | None
    at: float

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Read /proc.

        Raises FileNotFoundError when the process has gone (or on a system without /proc).
        """
        # The name may hold spaces and brackets; what follows its last bracket is regular.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
        rss = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmRSS"))
        ticks = int(stat[11]) + int(stat[12])
        descriptors: int | None = None
        with contextlib.suppress(PermissionError):
            descriptors = len(os.listdir(f"/proc/{pid}/fd"))
        return cls(ticks / _TICK, rss / 1024, int(stat[17]), descriptors, time.monotonic())

    def cores_since(self, earlier: Usage) -> float:
        """Cores in use on average between the two."""
        return (self.cpu - earlier.cpu) / max(1e-9, self.at - earlier.at)


def idle_and_all() -> tuple[int, int]:
    """Ticks of all processors: idle ones, and all; zeros on a system without /proc."""
    try:
        stat = Path("/proc/stat").read_text()
    except OSError:
        stat = ""
    fields = [int(x) for x in stat.split("\n", 1)[0].split()[1:9]]
    return (fields[3] + fields[4], sum(fields)) if len(fields) == 8 else (0, 0)


# The measuring machine's own part in the figures of a fleet, whose people and cameras share one process.

# A camera of five pictures a second that pauses for longer has not got its time; a server that takes
# it for frozen waits for pictures closer together than that (server/media/video/camera_state.py).
PAUSE_SECONDS = 1.2
# Seconds before a question's loss in which a pause explains it: the server calls a camera frozen
# after two, and a question waits three for its picture.
BEFORE_SECONDS = 8.0
_LOOK_SECONDS = 0.05


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
            await asyncio.sleep(_LOOK_SECONDS)

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
        pause = longest_pause(list(self._turns), self._at, now) - _LOOK_SECONDS
        return {
            "idle_share": round(idle / max(1, whole), 2),
            "people_cores": round(Usage.of(os.getpid()).cores_since(self._usage), 2),
            "pause_max_ms": round(1000 * max(0.0, pause)),
        }

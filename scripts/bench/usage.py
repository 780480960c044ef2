"""Processor time, memory, threads and descriptors of a process, from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
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

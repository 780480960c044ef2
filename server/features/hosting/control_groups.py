"""Main memory and cores that this process may have, within the limits of its control groups (version 2).

Standard library only: the models' workers use it, too. psutil knows no control groups.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def main_memory() -> tuple[int, int]:
    """Return the bytes of main memory, all and available, within the limits of the control groups."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
        total, free = (int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, LookupError):
        return 0, 0
    for group in _groups():
        with contextlib.suppress(OSError, ValueError):
            limit = int((group / "memory.max").read_text("ascii"))
            used = int((group / "memory.current").read_text("ascii"))
            # Copies of what is in files, weights that were read before all, make room for what programs ask for.
            for line in (group / "memory.stat").read_text("ascii").splitlines():
                name, _, count = line.partition(" ")
                if name in ("inactive_file", "active_file"):
                    used -= int(count)
            total, free = min(total, limit), min(free, max(0, limit - max(0, used)))
    return total, free


def cores() -> int:
    """Return the cores that this process may keep busy, by its affinity and its control groups."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [there or 1]
    for group in _groups():
        with contextlib.suppress(OSError, ValueError):
            most, period = (group / "cpu.max").read_text("ascii").split()
            found.append(max(1, math.ceil(int(most) / int(period))))
    return min(found)


def _groups() -> Iterator[Path]:
    """List this process's groups, the own one first."""
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text("ascii").splitlines():
            # Version 2 names no controllers.
            if line.startswith("0::"):
                folder = CGROUPS / line[3:].lstrip("/")
                yield from (one for one in (folder, *folder.parents) if one.is_relative_to(CGROUPS))

"""Main memory and cores that this process may use, within the limits of its control groups (version 2).

psutil ignores control groups. Standard library only, because the workers of models use this module, too.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def get_main_memory() -> tuple[int, int]:
    """Return the bytes of main memory, total and available, within all limits; (0, 0) if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
        total, free = (int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, LookupError):
        return 0, 0
    for group in _find_groups():
        with contextlib.suppress(OSError, ValueError):
            limit = int((group / "memory.max").read_text("ascii"))
            used = int((group / "memory.current").read_text("ascii"))
            # The page cache, for example weights that were read, is freed when programs need memory.
            for line in (group / "memory.stat").read_text("ascii").splitlines():
                name, _, count = line.partition(" ")
                if name in ("inactive_file", "active_file"):
                    used -= int(count)
            total, free = min(total, limit), min(free, max(0, limit - max(0, used)))
    return total, free


def count_cores() -> int:
    """Return the number of cores that affinity and control groups allow this process, at least 1."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [there or 1]
    for group in _find_groups():
        with contextlib.suppress(OSError, ValueError):
            most, period = (group / "cpu.max").read_text("ascii").split()
            found.append(max(1, math.ceil(int(most) / int(period))))
    return min(found)


def _find_groups() -> Iterator[Path]:
    """Yield the folders of this process's group and of the groups above it."""
    with contextlib.suppress(OSError):
        for line in OWN_GROUPS.read_text("ascii").splitlines():
            # Lines of version 2 contain no names of controllers.
            if line.startswith("0::"):
                folder = CGROUPS / line[3:].lstrip("/")
                yield from (one for one in (folder, *folder.parents) if one.is_relative_to(CGROUPS))

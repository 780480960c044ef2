"""Main memory and cores that this process may have, within the limits of its control groups.

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
# Of a control group, version 2 and version 1: its limit, what is used of it, and in its memory.stat
# what files take of that
_GROUP_FILES = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    (
        *("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ("total_inactive_file", "total_active_file"),
    ),
)


def main_memory() -> tuple[int, int]:
    """Return the bytes of main memory, all and available, within the limits of the control groups."""
    total = free = 0
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        found = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
        total, free = (int(found[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
        groups = list(_groups())
    except (OSError, ValueError, LookupError):
        return total, free
    for limit, left in (bounds for group in groups if (bounds := _within(group))):
        total, free = min(total, limit), min(free, left)
    return total, free


def cores() -> int:
    """Return the cores that this process may keep busy, by its affinity and its control groups."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [there or 1]
    with contextlib.suppress(OSError, ValueError):
        for group in _groups():
            with contextlib.suppress(OSError, ValueError):
                most, period = (group / "cpu.max").read_text("ascii").split()
                if most != "max":
                    found.append(max(1, math.ceil(int(most) / int(period))))
    return min(found)


def _groups() -> Iterator[Path]:
    """List this process's groups, of version 1 those for memory. Raises OSError, ValueError."""
    for line in OWN_GROUPS.read_text("ascii").splitlines():
        _, controllers, own = line.split(":", 2)
        # Version 2 names no controllers.
        if controllers and "memory" not in controllers.split(","):
            continue
        root = CGROUPS / "memory" if controllers else CGROUPS
        folder = root / own.lstrip("/")
        yield from (one for one in (folder, *folder.parents) if one.is_relative_to(root))


def _within(group: Path) -> tuple[int, int] | None:
    """Return the limit of a control group and what is left of it, bytes; None without one."""
    for most, now, of_files in _GROUP_FILES:
        try:
            limit = int((group / most).read_text("ascii"))
            used = int((group / now).read_text("ascii"))
            # Copies of what is in files, weights that were read before all, make room for what
            # programs ask for.
            for line in (group / "memory.stat").read_text("ascii").splitlines():
                name, _, count = line.partition(" ")
                if name in of_files:
                    used -= int(count)
        except (OSError, ValueError):
            continue
        return limit, max(0, limit - max(0, used))
    return None

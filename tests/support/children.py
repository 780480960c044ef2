"""Processes that tests watch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def alive(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def memory_mib(pid: int | str = "self", name: str = "VmRSS") -> float:
    """Read a process's main memory, MiB: VmRSS is now, VmHWM the most so far."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait for the end of processes; fails when one is left."""
    deadline = time.monotonic() + 20
    while any(map(alive, pids := list(pids))):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.02)

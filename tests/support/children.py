"""Processes that tests watch."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def alive(pid: int) -> bool:
    """Find whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_gone(pids: Iterable[int], seconds: float = 20) -> None:
    """Wait for the end of processes; fails when one is left."""
    deadline = time.monotonic() + seconds
    while any(map(alive, pids := list(pids))):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.02)

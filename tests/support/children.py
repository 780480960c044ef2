"""Processes that tests watch."""

from __future__ import annotations

from pathlib import Path


def alive(pid: int) -> bool:
    """Find whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

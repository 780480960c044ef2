"""What a process and all below it take of main memory. Linux; None elsewhere."""

from __future__ import annotations

from server.engines.keeper import descendants


def tree_bytes(pid: int) -> int | None:
    """Proportional set size of `pid` and its descendants: a page shared by n processes counts 1/n for each.

    proc(5), smaps_rollup. The resident size counts where that may not be read. None when `pid` is gone. Blocking: tens of
    milliseconds for a process with gigabytes of small pages.
    """
    own = _bytes(pid)
    if own is None:
        return None
    return own + sum(_bytes(child) or 0 for child in descendants(pid))


def available_bytes() -> int | None:
    """Main memory that programs can have without swapping (proc(5), MemAvailable)."""
    return _field("/proc/meminfo", "MemAvailable:")


def _bytes(pid: int) -> int | None:
    found = _field(f"/proc/{pid}/smaps_rollup", "Pss:")
    return found if found is not None else _field(f"/proc/{pid}/status", "VmRSS:")


def _field(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(name):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None

"""Which number format a model is computed in, and whether it fits. Pure, save for reading this system's files."""

from __future__ import annotations

import contextlib
from pathlib import Path

DTYPES = ("auto", "float16", "bfloat16", "float32")
BYTES_EACH = {"float16": 2, "bfloat16": 2, "float32": 4}
# Beside the weights: what is computed with, the cache of a long context, a picture on its way.
_EXTRA_SHARE = 0.10
_EXTRA_BYTES = 200 * 1024 * 1024


def needed(weights_bytes: int, bytes_each: int, dtype: str) -> int:
    """Bytes that a model needs in that format; stored it has `bytes_each` a number."""
    computed = weights_bytes * BYTES_EACH[dtype] / bytes_each
    return int(computed * (1 + _EXTRA_SHARE)) + _EXTRA_BYTES


def choose(asked: str, stored: str, *, gpu: bool, bfloat16: bool, roomy: bool) -> str:
    """The format to compute in.

    `bfloat16` tells whether the device computes in it quickly, `roomy` whether twice the bytes fit. A CPU has no
    arithmetic for float16, so there it is never used.
    """
    if gpu:
        if asked != "auto":
            return asked
        return stored if stored == "float16" else ("bfloat16" if bfloat16 else "float16")
    if asked in ("bfloat16", "float32"):
        return asked
    if stored == "float32" or (not bfloat16 and roomy):
        return "float32"
    return "bfloat16"


def free_ram() -> int | None:
    """Bytes that this process may still take: by the system, its own limit, its control group. None when unknown."""
    found = [_available(), _within_limit(), _within_group()]
    return min((value for value in found if value is not None), default=None)


def _available() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _within_limit() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * resource.getpagesize())
    return None


def _within_group() -> int | None:
    """By the second version of control groups; what the group caches of files could be had again, and is not counted."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            if line.startswith("0::"):
                group = Path("/sys/fs/cgroup") / line[3:].lstrip("/")
                limit = (group / "memory.max").read_text().strip()
                if limit == "max":
                    return None
                used = int((group / "memory.current").read_text())
                for stat in (group / "memory.stat").read_text().splitlines():
                    if stat.startswith("inactive_file "):
                        used -= int(stat.split()[1])
                return max(0, int(limit) - used)
    return None


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"

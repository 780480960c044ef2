"""Bounds of the process of a camera: memory and core dumps."""

from __future__ import annotations

import resource
from pathlib import Path

# Memory that a camera's stream may take beyond that of the program itself: the pictures that a
# decoder keeps of a stream of 3840×2160 (17 of 20 MB in H.265), two copies of one, and what waits.
STREAM_BYTES = 640 << 20


def bound_memory(extra: int = STREAM_BYTES) -> None:
    """Refuse memory beyond `extra` bytes more than the process has now.

    A hostile stream that needs more fails in this process alone.
    """
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + extra
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

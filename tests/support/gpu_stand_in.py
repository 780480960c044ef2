"""Stands in for a machine's GPUs: their free memory while a model loads, and how it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

GB = 10**9


class GpuStandIn:
    """Two cards of 100 GB.

    While `loaded` says so the model holds some of each; it comes back `late` seconds after.
    """

    def __init__(self, loaded: Callable[[], bool], *, late: float) -> None:
        self._loaded = loaded
        self._late = late
        # Of each card
        self.holds = (60 * GB, 20 * GB)
        # Time at which it was last seen loaded
        self._seen = -1e9
        self.reads = 0

    def free(self) -> tuple[int, ...]:
        self.reads += 1
        now = time.monotonic()
        if self._loaded():
            self._seen = now
        held = self.holds if now - self._seen <= self._late else (0, 0)
        return tuple(100 * GB - one for one in held)

"""Stands in for a machine's GPUs: their free memory while a model is loaded, and how it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable

GB = 10**9


class GpuStandIn:
    """Two cards of 100 GB.

    While a model is `loaded` it holds some of each; that is back `late` seconds after its end was first seen.
    """

    def __init__(self, *, late: float) -> None:
        # Set once a model is loaded
        self.loaded: Callable[[], bool] | None = None
        self._late = late
        self._back_at: float | None = None

    def free(self) -> tuple[int, ...]:
        now = time.monotonic()
        if self.loaded is not None and not self.loaded() and self._back_at is None:
            self._back_at = now + self._late
        back = self._back_at is not None and now >= self._back_at
        held = (0, 0) if self.loaded is None or back else (60 * GB, 20 * GB)
        return tuple(100 * GB - one for one in held)

"""Bounds of real time, for tests in which real sockets, processes or threads take part.

A test with fakes alone uses the clock of `fakes_clock`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from server.core.addresses import Limiter

# Far more than anything takes that waits for nothing, on a busy machine, too. The wait that a
# defect would cause has to be longer.
AT_ONCE_SECONDS = 10.0
# Such a wait: longer than AT_ONCE_SECONDS, and never awaited by a test that passes.
NEVER_SECONDS = 60.0


def at_once() -> asyncio.Timeout:
    """Raise TimeoutError when the block waits for something."""
    return asyncio.timeout(AT_ONCE_SECONDS)


@asynccontextmanager
async def allowances_held() -> AsyncIterator[None]:
    """Hold the time of all limits of requests: no allowance grows back while a machine is busy."""
    now, take, charge = time.monotonic(), Limiter.take, Limiter.charge

    def take_now(own: Limiter, name: str, _: float, *, count: bool = True) -> float | None:
        return take(own, name, now, count=count)

    def charge_now(own: Limiter, name: str, _: float, count: int) -> None:
        charge(own, name, now, count)

    with patch.object(Limiter, "take", take_now), patch.object(Limiter, "charge", charge_now):
        yield

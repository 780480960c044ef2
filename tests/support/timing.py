"""Bounds of real time, for tests in which real sockets, processes or threads take part.

A test with fakes alone uses the clock of `fakes_clock`.
"""

from __future__ import annotations

import asyncio

# Far more than anything takes that waits for nothing, on a busy machine, too. The wait that a
# defect would cause has to be longer.
AT_ONCE_SECONDS = 10.0
# Such a wait: longer than AT_ONCE_SECONDS, and never awaited by a test that passes.
NEVER_SECONDS = 60.0


def at_once() -> asyncio.Timeout:
    """Raise TimeoutError when the block waits for something."""
    return asyncio.timeout(AT_ONCE_SECONDS)

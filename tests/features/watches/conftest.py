"""A session that is guarded, and requests that are made again at once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from server.features.watches import watching as watch_queue
from tests.features.watches.test_watching import Guard, guarded


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_queue, "_AGAIN_SECONDS", 0.0)


@pytest_asyncio.fixture
async def guard() -> AsyncIterator[Guard]:
    async with guarded() as one:
        yield one


@pytest_asyncio.fixture
async def watched(guard: Guard) -> Guard:
    """With one watch, whose condition is known not to hold."""
    guard.watch()
    await guard.calm()
    return guard

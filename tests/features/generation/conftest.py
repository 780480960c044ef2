"""A generation job, and the pool of threads that encodes for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from server.core.metrics import Metrics
from server.features.generation.job import GenerationJob


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


@pytest.fixture
async def making(pool: ThreadPoolExecutor) -> AsyncIterator[GenerationJob]:
    one = GenerationJob(metrics=Metrics("0"), pool=pool)
    yield one
    await one.close()

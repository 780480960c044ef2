"""A camera's encoder for all tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from scripts.bench.live_encoder import LiveEncoder
from tests.support.fakes_rtc import live_encoder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def encoder() -> AsyncIterator[LiveEncoder]:
    async with live_encoder() as encoder:
        yield encoder

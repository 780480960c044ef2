"""A server for the tests of routes and sockets, once for each file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.support.fakes_openai import FakeOpenAI
from tests.support.running import Running, running

SECRET = "wQ7mZr4TfL1xUe0aKc9sVd3gHb6nJy8P"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run() -> AsyncIterator[Running]:
    async with (
        FakeOpenAI() as fake,
        running(
            engine="vllm",
            vllm_base_url=fake.base_url,
            jwt_secret_key=SECRET,
            rate_limit_per_minute=0,
            max_sessions=1000,
            drain_seconds=1,
        ) as run,
    ):
        yield run
